"""What a page shows beside a study's tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

PICTURES_OF_A_PAIR = 3
"""Pictures of each confused pair."""
PAIRS = 6
"""Confused pairs whose pictures are shown."""


@dataclass(frozen=True)
class Extras:
    """What a page shows beside a study's tables, found by the caller.

    Attributes:
        importance: A table of `tuner.search.importance.importance`, None if it was not computed.
        importance_note: A sentence on the trials behind it.
        classes: A name for each class, empty if they are not known.
        pictures: PNG data URIs of images by their index in the predictions.
        no_pictures: A sentence on why there are none.
    """

    importance: pd.DataFrame | None = None
    importance_note: str = ""
    classes: Sequence[str] = ()
    pictures: Mapping[int, str] = field(default_factory=dict)
    no_pictures: str = ""
