"""Code of the user, `package.module:Class` or `package.module:function`, imported and checked without torch."""

import inspect
import re
import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

from tuner.errors import SpecError, suggest, type_and_line

LIBRARIES = ("torchvision", "timm")
"""Packages whose networks a study file names `PACKAGE:NAME`."""


def library_of(name: str) -> str | None:
    """Return the library that an architecture names, or None."""
    package = name.partition(":")[0]
    return package if ":" in name and package in LIBRARIES else None


def is_own(name: str) -> bool:
    """Return True if a name is that of a user's own class.

    Such a name is `package.module:Class`.
    """
    return ":" in name and library_of(name) is None


def is_imported(name: str) -> bool:
    """Return True if the check of an architecture imports its package.

    The package may be gone later.
    """
    return is_own(name) or library_of(name) == "timm"


def own_network(name: str) -> Callable[..., Any]:
    """Import the class or function of the user that `package.module:Class` names.

    It is called as `Class(in_channels, classes, image_size, **hyperparameters)`. Its hyperparameters are its
    keyword-only parameters whose default is a boolean, a number or text.

    Raises:
        SpecError: The module cannot be imported, lacks the class, or the class has other parameters.
    """
    path, _, member = name.partition(":")
    place = f"architecture: {name}"
    allowed = "torchvision:NAME, timm:NAME, or package.module:Class below the current directory or installed"
    network = _find(import_own(path, place, allowed), member)
    _check_call(name, member, network)
    return network


def is_function(name: str) -> bool:
    """Return True if a name has the form `package.module:function`."""
    return re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*", name) is not None


def import_own(path: str, place: str, allowed: str) -> ModuleType:
    """Import a module of the user, from the current directory too.

    Args:
        path: Its dotted path.
        place: The place in the study file, for the message.
        allowed: What is allowed there, for the message.

    Raises:
        SpecError: The import failed.
    """
    if "" not in sys.path:  # because only `python -m tuner` has the current directory there, not `tuner`
        sys.path.append("")
    try:
        return import_module(path)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # because a user's module may raise anything, SystemExit too
        raise SpecError(
            f"{place}: importing '{path}' failed with {type_and_line(error)}; allowed: {allowed}"
        ) from error


def _find(module: ModuleType, member: str) -> Callable[..., Any]:
    network: Any = getattr(module, member, None)
    if _is_network(network):
        return network  # type: ignore[no-any-return]
    path = module.__name__
    known = [key for key, value in inspect.getmembers(module, _is_network) if value.__module__ == path]
    raise SpecError(f"architecture: {path} has no class or function '{member}'; {suggest(member, known)}")


def _check_call(name: str, member: str, network: Callable[..., Any]) -> None:
    try:
        inspect.signature(network).bind("in_channels", "classes", "image_size")
    except (TypeError, ValueError) as error:
        raise SpecError(
            f"architecture: {name}: {error}; expected: "
            f"{member}(in_channels, classes, image_size, *, hyperparameters with defaults)"
        ) from None


def _is_network(value: Any) -> bool:
    return inspect.isclass(value) or inspect.isfunction(value)
