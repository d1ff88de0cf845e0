"""Files of the user that would be imported instead of installed modules."""

import sys
from importlib.machinery import PathFinder
from pathlib import Path

import tuner
from tuner.errors import SpecError, printable

NEEDED = (
    "tuner", "ray", "torch", "torchvision", "optuna", "cmaes", "numpy", "pandas", "matplotlib", "pyarrow", "pydantic",
    "ruamel", "yaml", "typer", "rich", "timm", "safetensors", "filelock", "PIL", "sklearn", "scipy",
)  # fmt: skip
"""Modules that a study needs, loaded yet or not."""


def refuse_hidden_modules(folder: Path) -> None:
    """Refuse files that hide modules from the workers.

    They hide them because Ray's workers search the working directory first.

    Args:
        folder: The working directory.

    Raises:
        SpecError: A line for each file, with the remedy.
    """
    if Path(tuner.__file__).parents[1].resolve() == folder.resolve():
        return  # because this is the project's own folder, or what `submit` has sent
    needed = {*NEEDED, *(name.partition(".")[0] for name in list(sys.modules))}
    beside = [*folder.glob("*.py"), *(path.parent for path in folder.glob("*/__init__.py"))]
    if hiding := [path for path in sorted(beside) if path.stem in needed and _is_elsewhere(path.stem, folder)]:
        said = "hides the module of that name from the workers; rename it, or run from another folder"
        raise SpecError("\n".join(f"{printable(str(path))}: {said}" for path in hiding))


def _is_elsewhere(name: str, folder: Path) -> bool:
    """Return True if a module is also found outside of a folder."""
    if name in sys.builtin_module_names:  # which no file hides
        return False
    paths = [path for path in sys.path if Path(path).resolve() != folder.resolve()]
    spec = PathFinder.find_spec(name, paths)
    return spec is not None and spec.origin is not None
