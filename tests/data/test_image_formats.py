"""Every format and mode that Pillow writes is shown as a viewer would, or refused in one line."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from tests.support.image_formats import Sample, all_samples, each_format, kinds, outcome, reference, samples, table
from tuner.data.decoding import FORMATS, decode
from tuner.errors import DataError

PAGE = Path(__file__).parents[2] / "docs" / "datasets.md"


@pytest.mark.parametrize("kind", each_format(kinds()))
def test_decode_shows_each_format_as_viewers_do(kind: str) -> None:
    for sample in samples(kind):
        check_shown(sample)


def check_shown(sample: Sample) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # because Pillow warns of odd metadata
        expected = reference(sample) if sample.kind in (*FORMATS, "MPO") else None
        if expected is None:
            with pytest.raises(DataError, match=r"^x: (no readable image|pixels of mode '[IF]'; allowed: )") as caught:
                decode(sample.content, "x", None)
            assert "\n" not in str(caught.value)
            return
        pixels = decode(sample.content, "x", None).pixels
    shown = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
    assert np.array_equal(shown, expected), sample.mode
    assert pixels.max() > pixels.min(), sample.mode


@pytest.mark.slow
def test_formats_read_are_all_written_somewhere() -> None:
    read = {sample.kind for sample in all_samples() if outcome(sample) != "refused"}
    assert read - {"MPO"} == set(FORMATS)


@pytest.mark.slow
def test_page_tells_how_each_format_is_shown() -> None:
    assert table() in PAGE.read_text(encoding="utf-8"), table()
