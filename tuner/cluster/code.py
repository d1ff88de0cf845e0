"""The code that travels to every node: this package and the modules of the user's networks."""

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import tuner


def sources(architectures: Iterable[str]) -> list[Path]:
    """Return the paths of this package and of the user's top-level modules.

    Installed modules are left out, because each node has its own installation.
    """
    modules = [name.partition(":")[0] for name in architectures if ":" in name and not name.startswith("torchvision:")]
    top_levels = dict.fromkeys(module.partition(".")[0] for module in modules)
    users = [_source(import_module(name)) for name in top_levels]
    return [_source(tuner), *(path for path in users if "site-packages" not in path.parts)]


def _source(module: ModuleType) -> Path:
    return Path(module.__path__[0] if hasattr(module, "__path__") else str(module.__file__))
