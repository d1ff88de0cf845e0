"""Contact sheet: a picture of some training images of each class."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tuner.data.dataset import Dataset
from tuner.data.splits import Split
from tuner.errors import shorten

MOST_CLASSES = 40
"""Classes on a sheet, because more make no readable picture."""
PER_CLASS = 10
SIDE, GAP, LABEL, TOP = 72, 6, 190, 40
"""Sizes in pixels: an image, the space around it, the names of classes, and the title."""


def draw_sheet(dataset: Dataset, parts: Split) -> Image.Image:
    """Draw training images of each class in a row, with the class's name and count."""
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


def _shown(image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Image.Image:
    """Return an image at the size of the sheet, with sharp pixels if it is smaller."""
    picture = Image.fromarray(image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))
    how = Image.Resampling.NEAREST if picture.width < SIDE else Image.Resampling.BILINEAR
    return picture.convert("RGB").resize((SIDE, SIDE), how)
