"""The code that travels to every node: this package, and the user's own modules."""

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import tuner


def sources(architectures: Iterable[str]) -> list[Path]:
    """This package, and the top-level packages and modules of the user's own networks, but for those installed."""
    places = [name.partition(":")[0] for name in architectures if ":" in name and not name.startswith("torchvision:")]
    own = [_source(import_module(top)) for top in dict.fromkeys(place.partition(".")[0] for place in places)]
    return [_source(tuner), *(path for path in own if "site-packages" not in path.parts)]


def _source(module: ModuleType) -> Path:
    return Path(module.__path__[0] if hasattr(module, "__path__") else str(module.__file__))
