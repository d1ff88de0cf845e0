"""The results that are kept with the sources are read to the same frames by every version."""

import hashlib
import json
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

import tuner

RESULTS = Path(__file__).parents[2] / "notebooks" / "results"
DIGESTS: dict[str, str] = json.loads(Path(__file__).with_name("committed_frames.json").read_text())
"""Digest of each table's frame by `<study>/<table>`, of the columns that its part has.

Results that are committed again need new digests, made with the version that wrote them.
"""


def digest(frame: pd.DataFrame) -> str:
    """Hash the values of a frame, bit for bit, and the names of its columns."""
    frame = frame.reset_index(drop=True)
    for column in frame.select_dtypes("datetimetz"):
        frame[column] = frame[column].astype("int64")  # microseconds
    values = frame.to_json(orient="split", double_precision=15)
    return hashlib.blake2b(f"{values}{list(frame.columns)}".encode(), digest_size=16).hexdigest()


@pytest.mark.parametrize("name", DIGESTS)
def test_committed_frame_is_unchanged(name: str) -> None:
    study, table = name.split("/")
    (part,) = (RESULTS / name).glob("*.parquet")
    frame: pd.DataFrame = getattr(tuner.load_study(RESULTS / study), table)
    committed = pq.read_schema(part).names
    assert digest(frame[[column for column in frame.columns if column in committed]]) == DIGESTS[name]


def test_every_committed_table_has_a_digest() -> None:
    assert sorted(DIGESTS) == sorted(str(part.parent.relative_to(RESULTS)) for part in RESULTS.glob("*/*/*.parquet"))
