"""Networks of the user: `package.module:Class`, imported and checked without torch."""

import inspect
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from tuner.errors import SpecError, suggest


def is_own(name: str) -> bool:
    """Whether a name is that of a user's own class: `package.module:Class`."""
    return ":" in name and not name.startswith("torchvision:")


def own_network(name: str) -> Callable[..., Any]:
    """Import the class or function of the user's own that `package.module:Class` names.

    It is called as `Class(in_channels, classes, image_size, **hyperparameters)`. Its keyword-only parameters with a
    boolean, a number or text as default are its hyperparameters.

    Raises:
        SpecError: The module cannot be imported, has no such class or function, or that cannot be called so.
    """
    path, _, member = name.partition(":")
    if "" not in sys.path:  # the current directory: there already for `python -m tuner`, not for the console script
        sys.path.append("")
    try:
        module = import_module(path)
    except Exception as error:  # whatever the user's module raises
        said = next(iter(str(error).splitlines()), "")
        raise SpecError(
            f"architecture: {name}: importing '{path}' failed with {type(error).__name__}: {said}; allowed: "
            "torchvision:NAME, or package.module:Class below the current directory or installed"
        ) from error
    found: Any = getattr(module, member, None)
    if not _is_network(found):
        there = [key for key, value in inspect.getmembers(module, _is_network) if value.__module__ == path]
        raise SpecError(f"architecture: {path} has no class or function '{member}'; {suggest(member, there)}")
    try:
        inspect.signature(found).bind("in_channels", "classes", "image_size")
    except (TypeError, ValueError) as error:
        raise SpecError(
            f"architecture: {name}: {error}; expected: "
            f"{member}(in_channels, classes, image_size, *, hyperparameters with defaults)"
        ) from None
    return found  # type: ignore[no-any-return]


def _is_network(value: Any) -> bool:
    return inspect.isclass(value) or inspect.isfunction(value)
