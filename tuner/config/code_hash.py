"""Hashes of the code that trains a network, blind to comments, docstrings and formatting."""

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, resolve_name
from pathlib import Path
from typing import Any

from tuner.config.user_models import is_own

_PACKAGE = Path(__file__).parents[1]
_TRAINING_ROOMS = ("data", "models", "training")
"""Folders of this package that decide the numbers of a training."""


def hash_network(name: str) -> str:
    """Hash the code that trains an architecture, as 16 hexadecimal digits.

    For a user's `package.module:Class` it is the module, and the user's modules that it imports. For every
    other architecture it is this package's own code.
    """
    return _hash_users_module(name.partition(":")[0]) if is_own(name) else _hash_package()


@cache
def _hash_package() -> str:
    files = [file for room in _TRAINING_ROOMS for file in sorted((_PACKAGE / room).rglob("*.py"))]
    return _digest((str(file.relative_to(_PACKAGE)), _nodes(_parse(file))) for file in files)


def _hash_users_module(module: str) -> str:
    """Hash a module and its imports.

    An installed module is hashed with its package's version instead of its imports.
    """
    top = module.partition(".")[0]
    is_installed = _is_installed(top)
    contents: dict[str, Any] = {"": getattr(sys.modules.get(top), "__version__", None) if is_installed else None}
    pending = [*_with_parents(module)]
    while pending:
        name = pending.pop()
        spec = None if name in contents else _find(name)
        if spec is None or spec.origin is None or not Path(spec.origin).is_file():
            continue
        try:
            tree = _parse(Path(spec.origin))
        except (SyntaxError, ValueError, RecursionError):  # because it is compiled, or too deep
            contents[name] = Path(spec.origin).read_bytes()
        else:
            contents[name] = _nodes(tree)
            pending += [] if is_installed else filter(_is_users, _imports(tree, spec))
    return _digest(sorted(contents.items()))


def _digest(parts: Iterable[tuple[str, Any]]) -> str:
    return hashlib.blake2b(repr(list(parts)).encode(), digest_size=8).hexdigest()


def _parse(file: Path) -> ast.Module:
    """Parse a file into its syntax tree, without docstrings."""
    tree = ast.parse(file.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            match node.body:
                case [ast.Expr(ast.Constant(str())), *rest]:
                    node.body = rest
    return tree


def _nodes(tree: ast.Module) -> list[Any]:
    """List the nodes of a syntax tree as plain values.

    They are in the order of `ast.walk`, because a recursion would not reach the depth of some trees.
    Empty fields are left out, because versions of Python add some.
    """
    return [
        (type(node).__name__, [(key, _plain(value)) for key, value in ast.iter_fields(node) if value not in (None, [])])
        for node in ast.walk(tree)
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return type(value).__name__ if isinstance(value, ast.AST) else repr(value)


def _imports(tree: ast.Module, spec: ModuleSpec) -> Iterator[str]:
    """Name every module that a module may import, with its packages."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_parents(alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, spec)
            for alias in node.names:  # because `from package import module` imports a module
                yield from _with_parents(f"{base}.{alias.name}")


def _base(node: ast.ImportFrom, spec: ModuleSpec) -> str:
    """Return the full name of the module that a `from` names."""
    name = "." * node.level + (node.module or "")
    try:
        return resolve_name(name, spec.parent or "") if node.level else name
    except ImportError:  # because it leads above the top, which fails when it is run
        return name.lstrip(".")


def _with_parents(module: str) -> Iterator[str]:
    parts = module.split(".")
    return (".".join(parts[:end]) for end in range(1, len(parts) + 1))


def _is_users(module: str) -> bool:
    top = module.partition(".")[0]
    return top not in sys.stdlib_module_names and top != _PACKAGE.name and not _is_installed(top)


def _is_installed(top: str) -> bool:
    spec = _find(top)
    paths = [] if spec is None else [spec.origin or "", *(spec.submodule_search_locations or [])]
    return any({"site-packages", "dist-packages"} & set(Path(path).parts) for path in paths)


def _find(module: str) -> ModuleSpec | None:
    try:
        return find_spec(module)
    except Exception:  # because a package above the module is imported, and may raise anything
        return None
