"""Plots of predictions: the confusion matrix, and the images themselves."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from tuner.analysis.predictions import confusion
from tuner.errors import UserError, shorten
from tuner.plots.style import INK, VERMILION, Numbers, drawable, new_axes, require_columns, require_one_value, show_text

LONGEST_CLASS = 30
"""Characters of a class's name."""

Picture = NDArray[np.uint8]


def confusion_matrix(
    predictions: pd.DataFrame, classes: Sequence[str], normalize: bool = True, *, ax: Axes | None = None
) -> Axes:
    """Draw the confusion matrix.

    True classes go downwards, predicted classes to the right.

    Args:
        predictions: Rows of one split of `StudyResults.predictions`. Several trials are counted together.
        classes: A name for each label, from 0.
        normalize: Percent of the images of the true class (report 004) instead of counts. Empty cells stay blank.
        ax: The Axes to draw on.

    Raises:
        UserError: A column is missing, a label has no name, or there are rows of several splits.
    """
    require_columns("predictions", predictions, "split", "label", "predicted")
    require_one_value("predictions", predictions, "split")
    axes = new_axes(ax, height=5.2)
    if predictions.empty:
        return show_text(axes, "no predictions")
    shares = _confusion(predictions, len(classes), normalize)
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100 if normalize else None)
    colours: Numbers = np.asarray(mpl.colormaps["Blues"](picture.norm(shares)))
    for row, column in np.argwhere(shares):
        look: dict[str, Any] = {"color": _readable_on(colours[row, column]), "fontsize": min(9, 100 / len(classes))}
        axes.text(column, row, f"{shares[row, column]:.0f}", ha="center", va="center", **look)
    names = [drawable(shorten(name, LONGEST_CLASS)) for name in classes]
    is_wide = max(map(len, names)) > 3
    aslant: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if is_wide else {}
    axes.set_xticks(range(len(names)), names, parse_math=False, **aslant)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set(xlabel="predicted class", ylabel=f"true class ({'% of its images' if normalize else 'images'})")
    axes.grid(visible=False)
    return axes


def _confusion(predictions: pd.DataFrame, classes: int, normalize: bool) -> Numbers:
    """Count images by true and predicted class: (classes, classes).

    With `normalize`, return percent of each row instead.
    """
    labels, predicted = predictions["label"].to_numpy(int), predictions["predicted"].to_numpy(int)
    if nameless := {*labels, *predicted} - {*range(classes)}:
        raise UserError(f"classes: found no name for label {min(nameless)}; allowed: a name for each label, from 0")
    pairs = confusion(predictions)
    cells: Numbers = np.zeros((classes, classes))
    cells[pairs["label"], pairs["predicted"]] = 100 * pairs["share"] if normalize else pairs["count"]
    return cells


def _readable_on(colour: Numbers) -> str:
    """Return white for dark colours and black for light ones.

    A colour is RGBA, 0 to 1.
    """
    return "white" if colour[:3] @ np.array([0.299, 0.587, 0.114]) < 0.5 else "black"


def pictures(
    images: Sequence[Picture],
    labels: Sequence[int],
    predicted: Sequence[int],
    classes: Sequence[str],
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw a row of images with their predicted and true classes.

    The true class is in brackets. The title is red if the classes differ.

    Args:
        images: N images, (H, W), (H, W, C) or (C, H, W) uint8; C is 1 (gray) or 3 (RGB).
        labels: N true labels, from 0.
        predicted: N predicted labels.
        classes: A name for each label.
        ax: The Axes to draw on.

    Raises:
        UserError: There are not as many labels as images, or predictions.
    """
    if not len(images) == len(labels) == len(predicted):
        found = f"{len(images)} images, {len(labels)} labels, {len(predicted)} predictions"
        raise UserError(f"pictures: found {found}; allowed: as many of each")
    axes = new_axes(ax, width=max(1.1 * len(images), 2.4), height=1.7)
    if not len(images):
        return show_text(axes, "no images")
    axes.set_axis_off()
    names = [drawable(name) for name in classes]
    for index, (image, label, guess) in enumerate(zip(images, labels, predicted, strict=True)):
        extent = (index + 0.04, index + 0.96, 0.0, 0.92)
        axes.imshow(_as_drawn(image), cmap="gray", vmin=0, vmax=255, extent=extent)
        look: dict[str, Any] = {"color": INK if label == guess else VERMILION, "fontsize": 9}
        axes.text(
            index + 0.5,
            0.98,
            f"{names[guess]}\n({names[label]})",
            ha="center",
            va="bottom",
            parse_math=False,
            **look,
        )
    axes.set(xlim=(0, len(images)), ylim=(0, 1.45))
    return axes


def _as_drawn(image: Picture) -> Picture:
    """Reshape an image as matplotlib draws it.

    The result is (H, W) or (H, W, 3).
    """
    if image.ndim == 3 and image.shape[0] in (1, 3) and image.shape[2] not in (1, 3):
        image = image.transpose(1, 2, 0)
    return image[:, :, 0] if image.ndim == 3 and image.shape[2] == 1 else image
