"""The code that travels to every node: this package and the modules of the user's networks."""

import shutil
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import tuner
from tuner.config.user_models import is_own


def stage(folder: Path, architectures: Iterable[str]) -> list[Path]:
    """Copy this package and the modules of user networks into a folder.

    Of the user's packages only `.py` files are copied, because data and secrets may lie beside
    them.

    Returns:
        The copies of the packages and modules.
    """
    package, *of_user = sources(architectures)
    shutil.copytree(package, folder / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in of_user:
        if path.is_dir():
            shutil.copytree(path, folder / path.name, ignore=_all_but_python)
        else:
            shutil.copy(path, folder)
    return [folder / path.name for path in (package, *of_user)]


def _all_but_python(folder: str, names: list[str]) -> list[str]:
    """Return the names in a folder that are not copied.

    Only `.py` files and folders of packages are copied.
    """
    return [name for name in names if not _is_code(Path(folder, name))]


def _is_code(path: Path) -> bool:
    if path.is_dir():
        return path.name.isidentifier() and path.name != "__pycache__"
    return path.suffix == ".py" and path.is_file()


def sources(architectures: Iterable[str]) -> list[Path]:
    """Return the paths of this package and of the user's top-level modules.

    Installed modules are left out, because each node has its own installation.
    """
    modules = [name.partition(":")[0] for name in architectures if is_own(name)]
    top_levels = dict.fromkeys(module.partition(".")[0] for module in modules)
    users = [_source(import_module(name)) for name in top_levels]
    return [_source(tuner), *(path for path in users if "site-packages" not in path.parts)]


def _source(module: ModuleType) -> Path:
    return Path(module.__path__[0] if hasattr(module, "__path__") else str(module.__file__))
