import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import same_color

from tuner import plots
from tuner.errors import UserError
from tuner.plots.style import INK, VERMILION

CLASSES = ["cat", "dog", "ship"]


def predictions(*pairs: tuple[int, int], split: str = "test") -> pd.DataFrame:
    frame = pd.DataFrame(pairs, columns=["label", "predicted"]).astype("Int64")
    return frame.assign(number=0, split=split)


SEEN = predictions(*[(0, 0)] * 3, (0, 1), *[(1, 1)] * 2, (1, 0), (1, 2), (1, 2))


def cells(axes: Axes) -> dict[tuple[float, float], str]:
    """Numbers by (row, column)."""
    return {text.get_position()[::-1]: text.get_text() for text in axes.texts}


def test_confusion_matrix_shows_percent_of_true_class() -> None:
    axes = plots.confusion_matrix(SEEN, CLASSES)
    assert cells(axes) == {(0, 0): "75", (0, 1): "25", (1, 0): "20", (1, 1): "40", (1, 2): "40"}
    assert axes.images[0].get_array().tolist() == [[75, 25, 0], [20, 40, 40], [0, 0, 0]]


def test_confusion_matrix_counts_images_if_asked() -> None:
    axes = plots.confusion_matrix(SEEN, CLASSES, normalize=False)
    assert cells(axes) == {(0, 0): "3", (0, 1): "1", (1, 0): "1", (1, 1): "2", (1, 2): "2"}
    assert axes.get_ylabel() == "true class (images)"


def test_confusion_matrix_names_classes_on_both_axes() -> None:
    axes = plots.confusion_matrix(SEEN, CLASSES)
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in labels] == CLASSES
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class (% of its images)")


def test_confusion_matrix_numbers_stand_out_from_cells() -> None:
    axes = plots.confusion_matrix(predictions(*[(0, 0)] * 9, (0, 1)), CLASSES)
    assert {text.get_text(): text.get_color() for text in axes.texts} == {"90": "white", "10": "black"}


def test_confusion_matrix_refuses_label_without_name() -> None:
    with pytest.raises(
        UserError, match=r"^classes: found no name for label 2; allowed: a name for each label, from 0$"
    ):
        plots.confusion_matrix(SEEN, CLASSES[:2])


def test_confusion_matrix_refuses_two_splits() -> None:
    both = pd.concat([SEEN, predictions((0, 0), split="validation")])
    with pytest.raises(
        UserError, match=r"^predictions: found test, validation in column 'split'; allowed: .* one split$"
    ):
        plots.confusion_matrix(both, CLASSES)


def test_confusion_matrix_needs_its_columns() -> None:
    with pytest.raises(UserError, match=r"^predictions: found no column 'predicted'"):
        plots.confusion_matrix(SEEN.drop(columns="predicted"), CLASSES)


def test_confusion_matrix_without_predictions_is_a_text() -> None:
    assert [text.get_text() for text in plots.confusion_matrix(predictions(), CLASSES).texts] == ["no predictions"]


GRAY = np.arange(64, dtype=np.uint8).reshape(8, 8)
COLOURED = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)


def test_pictures_stand_in_equal_cells() -> None:
    axes = plots.pictures([GRAY, COLOURED], [0, 1], [0, 1], CLASSES)
    assert [image.get_array().shape for image in axes.images] == [(8, 8), (4, 4, 3)]
    assert axes.images[1].get_array().tolist() == COLOURED.tolist()
    assert [image.get_extent() for image in axes.images] == [[0.04, 0.96, 0, 0.92], [1.04, 1.96, 0, 0.92]]


@pytest.mark.parametrize("image", [GRAY, GRAY[None], GRAY[:, :, None]], ids=["HW", "CHW", "HWC"])
def test_pictures_in_gray_keep_their_pixels(image: np.ndarray) -> None:
    [shown] = plots.pictures([image], [0], [0], CLASSES).images
    assert shown.get_array().tolist() == GRAY.tolist()
    assert (shown.norm.vmin, shown.norm.vmax) == (0, 255)


def test_pictures_in_colour_move_channels_last() -> None:
    [shown] = plots.pictures([COLOURED.transpose(2, 0, 1)], [0], [0], CLASSES).images
    assert shown.get_array().tolist() == COLOURED.tolist()


def test_pictures_titles_are_red_where_wrong() -> None:
    axes = plots.pictures([GRAY, GRAY], [0, 1], [0, 2], CLASSES)
    assert [text.get_text() for text in axes.texts] == ["cat\n(cat)", "ship\n(dog)"]
    assert same_color(axes.texts[0].get_color(), INK)
    assert same_color(axes.texts[1].get_color(), VERMILION)


def test_pictures_need_as_many_labels() -> None:
    with pytest.raises(
        UserError, match=r"^pictures: found 2 images, 1 labels, 2 predictions; allowed: as many of each$"
    ):
        plots.pictures([GRAY, GRAY], [0], [0, 1], CLASSES)


def test_pictures_without_images_are_a_text() -> None:
    assert [text.get_text() for text in plots.pictures([], [], [], CLASSES).texts] == ["no images"]


def test_confusion_matrix_escapes_characters_without_glyph() -> None:
    axes = plots.confusion_matrix(SEEN, ["猫", "$dog$ 😀", "s" * 200])
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in labels] == ["\\u732b", "$dog$ 😀", "s" * 29 + "…"]
    axes.figure.canvas.draw()  # a warning of a missing glyph would be an error


def test_pictures_escape_characters_without_glyph() -> None:
    image = np.zeros((2, 2), dtype=np.uint8)
    axes = plots.pictures([image], [0], [1], ["猫", "two\nlines"])
    assert axes.texts[0].get_text() == "two\\nlines\n(\\u732b)"
    axes.figure.canvas.draw()
