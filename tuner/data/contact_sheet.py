"""Contact sheets: pictures of some images of each class, or of uncertain ones."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tuner.data.collecting import Pixels
from tuner.data.dataset import Dataset
from tuner.data.splits import Split
from tuner.errors import DataError, printable, shorten

MOST_CLASSES = 40
"""Classes on a sheet, because more make no readable picture."""
PER_CLASS = 10
SIDE, GAP, LABEL, TOP = 72, 6, 190, 40
"""Sizes in pixels: an image, the space around it, the names of classes, and the title."""

COLUMNS, CELL, TEXT = 8, 132, 36
"""Uncertain images in a row, the width of each with the space around it, and the height of its text."""


class Captioned(NamedTuple):
    """An image (C, H, W) with two lines of text below it."""

    pixels: Pixels
    title: str
    line: str


def check_sheet(path: Path | None, option: str) -> None:
    """Refuse a file for a sheet before the images are read."""
    if path is None:
        return
    if path.suffix.lower() != ".png":
        raise DataError(f"{option}: found '{path}'; allowed: the name of a new file that ends in .png")
    if path.exists():
        raise DataError(f"{option}: {path} exists; allowed: the name of a new file")
    if not path.parent.is_dir():
        raise DataError(f"{option}: no folder {path.parent}; create it first")


def draw_captioned(title: str, images: Sequence[Captioned]) -> Image.Image:
    """Draw images in rows, each with its caption."""
    side, lines = CELL - 2 * GAP, -(-len(images) // COLUMNS)
    height = side + TEXT + 2 * GAP
    sheet = Image.new("RGB", (COLUMNS * CELL + 2 * GAP, TOP + lines * height + GAP), "white")
    pen = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(18), ImageFont.load_default(12)
    pen.text((GAP * 2, 10), title, fill="black", font=large)
    for number, image in enumerate(images):
        left, top = GAP * 2 + number % COLUMNS * CELL, TOP + number // COLUMNS * height
        sheet.paste(_shown(image.pixels, side), (left, top))
        pen.text((left, top + side + 3), shorten(printable(image.title), 19), fill="black", font=small)
        pen.text((left, top + side + 18), shorten(printable(image.line), 19), fill="#555555", font=small)
    return sheet


def draw_sheet(dataset: Dataset, parts: Split) -> Image.Image:
    """Draw a row of training images for each class.

    A row begins with the name of the class and its number of images.
    """
    labels = np.asarray(dataset.train_labels)[parts.train]
    names = dataset.classes[:MOST_CLASSES]
    row = SIDE + GAP
    sheet = Image.new("RGB", (LABEL + PER_CLASS * row + GAP * 2, TOP + len(names) * row + GAP), "white")
    pen = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(18), ImageFont.load_default(13)
    pen.text((GAP * 2, 10), _title(dataset, len(labels)), fill="black", font=large)
    for line, name in enumerate(names):
        top = TOP + line * row
        of_class = parts.train[labels == line]
        pen.text((GAP * 2, top + 16), shorten(name, 22), fill="black", font=large if len(name) < 18 else small)
        pen.text((GAP * 2, top + 42), f"{len(of_class):,} images", fill="#555555", font=small)
        spread = np.linspace(0, len(of_class) - 1, min(PER_CLASS, len(of_class))).astype(int)
        for column, position in enumerate(of_class[spread]):
            sheet.paste(_shown(dataset.train_images[position]), (LABEL + column * row, top))
    return sheet


def write_sheet(sheet: Image.Image, path: Path) -> None:
    """Write a sheet to a new file."""
    with path.open("xb") as stream:
        sheet.save(stream, "PNG")


def _title(dataset: Dataset, images: int) -> str:
    size, classes = dataset.image_size, len(dataset.classes)
    shown = f"the first {MOST_CLASSES} of {classes:,}" if classes > MOST_CLASSES else f"{classes:,}"
    return f"{shorten(dataset.name, 40)}: {images:,} training images of {size}x{size} pixels, {shown} classes"


def _shown(image: Pixels, side: int = SIDE) -> Image.Image:
    """Resize an image for a sheet.

    Smaller images are enlarged with sharp pixels.
    """
    picture = Image.fromarray(image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))
    how = Image.Resampling.NEAREST if picture.width < side else Image.Resampling.BILINEAR
    return picture.convert("RGB").resize((side, side), how)
