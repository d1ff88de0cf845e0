"""A file of each image format and mode that Pillow writes, and the table of how each is shown.

    python -m tests.support.image_formats

prints the table of docs/datasets.md.
"""

import io
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.support.image_files import noise
from tuner.data.decoding import FORMATS, decode
from tuner.errors import DataError

SIZE = 64
"""Pixels of both sides, because ICNS holds few sizes."""
MODES = (
    *("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX"),
    *("CMYK", "YCbCr", "LAB", "HSV", "I", "I;16", "I;16B", "I;16L", "F"),
)


@dataclass(frozen=True)
class Sample:
    """An image file, with the format and mode that Pillow was given."""

    kind: str
    mode: str
    content: bytes


@lru_cache
def picture(mode: str) -> Image.Image:
    """Return an image of smooth noise, half transparent where the mode allows it, with a black corner."""
    small = Image.fromarray(noise(1, 8, 8, 4)[0])
    color = small.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    color.paste((0, 0, 0, 0), (0, 0, 16, 16))
    color.paste((10, 20, 30, 255), (32, 32, 64, 64))
    plain = color.convert("RGB")
    match mode:
        case "I" | "I;16" | "I;16B" | "I;16L":
            levels = np.asarray(plain.convert("L")).astype(np.uint16) * 257
            deep = Image.fromarray(levels)
            order = ">u2" if mode == "I;16B" else "<u2"
            return (
                deep.convert("I") if mode == "I" else Image.frombytes(mode, deep.size, levels.astype(order).tobytes())
            )
        case "F":
            return plain.convert("L").convert("F")
        case "LAB":
            return Image.frombytes("LAB", plain.size, plain.tobytes())
        case "P":
            return color.quantize(16)
        case "PA":
            paletted = plain.quantize(16)
            paletted.putalpha(color.getchannel("A"))
            return paletted
        case "La":
            return color.convert("LA").convert("La")
        case "LA" | "RGBA":
            return color.convert(mode)
        case "RGBa":
            return color.convert("RGBa")
    return plain.convert(mode)


def kinds() -> list[str]:
    """Return the formats that this Pillow writes."""
    Image.init()
    return sorted(Image.SAVE)


def each_format(kinds: Iterable[str]) -> list[Any]:
    """Return the parameters of tests of formats. An ICNS is slow, because it holds ten icons."""
    return [pytest.param(kind, marks=[pytest.mark.slow] if kind == "ICNS" else []) for kind in kinds]


@lru_cache
def samples(kind: str) -> tuple[Sample, ...]:
    """Return a file of each mode in which this Pillow writes a format."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # because Pillow warns of formats that it will drop
        return tuple(_written(kind))


def _written(kind: str) -> Iterator[Sample]:
    for mode in MODES:
        stream = io.BytesIO()
        try:
            picture(mode).save(stream, kind)
        except (OSError, ValueError, KeyError, TypeError):
            continue  # because the format has no such mode
        yield Sample(kind, mode, stream.getvalue())


def all_samples() -> Iterator[Sample]:
    """Return a file of each format and mode."""
    return (sample for kind in kinds() for sample in samples(kind))


def reference(sample: Sample) -> np.ndarray | None:
    """Return the pixels a viewer shows, by Pillow alone, (H, W, 3).

    None if the values have no range that a viewer could know.
    """
    with Image.open(io.BytesIO(sample.content)) as opened:
        upright = ImageOps.exif_transpose(opened)
    if upright.mode == "F" or (upright.mode == "I" and sample.kind != "PPM"):
        return None
    if upright.mode.startswith("I"):
        upright = Image.fromarray((np.asarray(upright).astype(np.int64) >> 8).astype(np.uint8))
    layer = upright.convert("RGBA")
    return np.asarray(Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB"))


def outcome(sample: Sample) -> str:
    """Describe in a few words how a file is shown."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            pixels = decode(sample.content, "x", None).pixels
        except DataError:
            return "refused"
        with Image.open(io.BytesIO(sample.content)) as opened:
            opened.load()
            transparent = opened.convert("RGBA").getextrema()[3] != (255, 255)
    return ("gray" if pixels.ndim == 2 else "color") + (" on white" if transparent else "")


def table() -> str:
    """Return the table of docs/datasets.md, one row per format."""
    outcomes: dict[str, dict[str, list[str]]] = {}
    for sample in all_samples():
        outcomes.setdefault(sample.kind, {}).setdefault(outcome(sample), []).append(sample.mode)
    columns = ("gray", "color", "gray on white", "color on white", "refused")
    lines = ["| format | " + " | ".join(columns) + " |", "| --- " * (len(columns) + 1) + "|"]
    for kind, by_outcome in sorted(outcomes.items()):
        if kind in FORMATS or set(by_outcome) != {"refused"}:
            cells = (", ".join(f"`{mode}`" for mode in by_outcome.get(column, ())) for column in columns)
            lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    others = ", ".join(
        kind for kind, found in sorted(outcomes.items()) if kind not in FORMATS and set(found) == {"refused"}
    )
    return "\n".join(lines) + f"\n\nRefused in every mode: {others}.\n"


if __name__ == "__main__":
    print(table(), end="")
