"""Section `dataset`: images, their split, and the scale of their pixels."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, PlainSerializer, PlainValidator, Tag

from tuner.config.settings import Settings
from tuner.config.validation_messages import shown
from tuner.errors import SpecError

Fraction = Annotated[float, Field(gt=0, lt=1)]


class Augment(Settings):
    """Random changes of the training images, drawn for each image and epoch."""

    flip: bool = False
    """Mirror left to right with probability 0.5."""
    crop: Annotated[int, Field(ge=0, le=64)] = 0
    """Black pixels added on each side before the original size is cut."""
    rotate: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Most degrees of a rotation either way (bilinear, edge pixels repeated)."""
    shift: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Largest shift as a share of the image's size (bilinear, edge pixels repeated)."""


class LastFraction(Settings):
    """Validation on the last part of the training images, like Keras's `validation_split`."""

    last: Fraction
    """Share of the training images."""


class NextImages(Settings):
    """Validation on the `next` images after the first `train` ones.

    Images are in file order.
    """

    next: Annotated[int, Field(gt=0)]
    """Number of images."""


def _as_tuple(raw: Any) -> Any:
    return tuple(raw) if isinstance(raw, list) else raw


class Normalization(Settings):
    """Mean and deviation of the pixels that a pretrained network expects."""

    mean: Annotated[tuple[Annotated[float, Field(ge=0, le=1)], ...], BeforeValidator(_as_tuple)]
    """Mean of each channel, with pixels in [0, 1]."""
    deviation: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], BeforeValidator(_as_tuple)]
    """Standard deviation of each channel, with pixels in [0, 1]."""


Pixels = Annotated[
    Annotated[Literal["unit", "symmetric", "standard", "raw", "auto"], Tag("name")]
    | Annotated[Normalization, Tag("moments")],
    Discriminator(lambda raw: "moments" if isinstance(raw, Mapping | Normalization) else "name"),
]


class GroupedShare(Settings):
    """Validation on whole groups of images: patients, sites or videos."""

    groups: Annotated[str, Field(min_length=1)]
    """CSV file with a header `image,group`, or a column of Parquet files."""
    share: Fraction = 0.2
    """Share of the training images, as near as whole groups allow."""


class Folds(Settings):
    """Cross-validation: each trial trains as many networks, each validated on another fold."""

    folds: Annotated[int, Field(ge=2, le=100)]
    """Number of folds, stratified by class."""
    groups: Annotated[str, Field(min_length=1)] | None = None
    """CSV file with a header `image,group`, or a column of Parquet files. Groups stay in one fold."""


FORMS: dict[str, type[Settings]] = {
    "folds": Folds,
    "last": LastFraction,
    "next": NextImages,
    "groups": GroupedShare,
}
"""Mappings below `validation`, by the key that tells them apart."""


def _check_validation(raw: Any) -> Any:
    if isinstance(raw, Mapping):
        form = next((form for key, form in FORMS.items() if key in raw), None)
        return form.model_validate(raw) if form else _refuse_validation(raw)
    number = isinstance(raw, int | float) and not isinstance(raw, bool)
    if raw is None or raw == "test" or (number and (0 < raw < 1 or (raw >= 1 and raw % 1 == 0))):
        return int(raw) if number and raw >= 1 else raw
    return raw if isinstance(raw, tuple(FORMS.values())) else _refuse_validation(raw)


def _refuse_validation(raw: Any) -> Any:
    raise ValueError(
        f"found {shown(raw)}; allowed: a number of images, a fraction below 1, {{last: FRACTION}}, {{next: N}},"
        " {groups: FILE.csv, share: FRACTION}, {folds: K, groups: FILE.csv}, test"
    )


def _write_validation(validation: Any) -> Any:
    return validation.model_dump(exclude_none=True) if isinstance(validation, Settings) else validation


Validation = Annotated[
    int | float | LastFraction | NextImages | GroupedShare | Folds | Literal["test"] | None,
    PlainValidator(_check_validation),
    PlainSerializer(_write_validation),
]


DEFAULT_SHARE = 0.1
"""Share of the training images to validate on, where nothing else is named."""
_LATER_KEYS = ("image", "label")
"""Keys that studies of the first version could not have."""


class DatasetConfig(Settings):
    """Images, their split, and the scale of their pixels."""

    name: str = "digits"
    """digits | mnist | fashion_mnist | cifar10 | a folder of images | a Parquet file, .tar shard or pattern of training
    images | package.module:function that returns images."""
    test: str | None = None
    """Parquet file, .tar shard or pattern of the test images, beside that of `name`."""
    image: Annotated[str, Field(min_length=1)] | None = None
    """Column of the images in Parquet files. None: `image` or `img`. In .tar shards: the ending of the images."""
    label: Annotated[str, Field(min_length=1)] | None = None
    """Column of the labels in Parquet files, whole numbers or text. None: `label`. In .tar shards: the key in JSON."""
    image_size: Annotated[int, Field(ge=4, le=1024)] | Literal["auto"] | None = None
    """Pixels to which both sides of images are resized. auto: those of the networks' published weights.

    None: images keep their size, unless every trial has `pretrained: true`, which means auto.
    """
    train: Annotated[int, Field(gt=0)] | None = None
    """Number of training images to use, the first in file order. None: all."""
    validation: Validation = None
    """N | fraction (both stratified, seeded) | {last: 0.2} | {next: 10000} | {groups: groups.csv, share: 0.2} |
    {folds: 5} | {folds: 5, groups: groups.csv} | test (as published only). None: the validation images that the
    data set sets apart, or else 0.1."""
    split_seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the validation split, the same for every trial."""
    augment: Augment = Augment()
    """Random changes of the training images."""
    pixels: Pixels = "unit"
    """[0, 1] | [-1, 1] | mean and deviation of the training images | 0 to 255 | {mean: [M], deviation: [D]} |
    mean and deviation of a network's published weights, which is the default with `pretrained: true`."""

    @property
    def size(self) -> int | None:
        """Pixels to which both sides of images are resized, or None.

        With None, images keep their size.

        Raises:
            SpecError: The size is `auto`, which only a study file turns into that of its networks.
        """
        if self.image_size == "auto":
            raise SpecError("dataset.image_size: found auto without networks; allowed: a number")
        return self.image_size

    @property
    def groups(self) -> str | None:
        """File or column that names the group of each image, or None."""
        return self.validation.groups if isinstance(self.validation, GroupedShare | Folds) else None

    @property
    def folds(self) -> int:
        """Number of networks that each trial trains, 1 without folds."""
        return self.validation.folds if isinstance(self.validation, Folds) else 1

    @property
    def decisive(self) -> dict[str, Any]:
        """Every value that decides the numbers of a training.

        Keys of later versions are left out while they are not set, because earlier checkpoints lack them.
        A validation that is not set is the share that earlier versions had as default.
        """
        values = self.model_dump(mode="json")
        values["validation"] = DEFAULT_SHARE if self.validation is None else values["validation"]
        return {key: value for key, value in values.items() if key not in _LATER_KEYS or value is not None}
