"""What one training needs to know: the data set as it is prepared, and the recipe. Every default stands here."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, model_validator

from tuner.catalogue import Scalar, architecture
from tuner.complaints import shown
from tuner.errors import SpecError, suggest

Fraction = Annotated[float, Field(gt=0, lt=1)]
_KINDS: Mapping[type, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


class Settings(BaseModel):
    """Settings read from a file: unknown keys are refused, values are checked, nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _name_the_nearest_key(cls, raw: Any) -> Any:
        if isinstance(raw, Mapping):
            known = {field.alias or name for name, field in cls.model_fields.items()}
            for key in raw:
                if key not in known:
                    raise ValueError(f"unknown key {key!r}; {suggest(str(key), known)}")
        return raw


class Augment(Settings):
    """Random changes of the training images, drawn anew for each image and epoch."""

    flip: bool = False
    """Mirror left to right, with probability one half."""
    crop: Annotated[int, Field(ge=0, le=64)] = 0
    """Pad by so many black pixels on each side and cut the original size at a random place."""
    rotate: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Rotate by up to so many degrees either way (bilinear, edge pixels repeated)."""
    shift: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Shift by up to this share of the side in each direction (bilinear, edge pixels repeated)."""


class LastFraction(Settings):
    """Validation on the last share of the training images, as Keras's `validation_split` does it."""

    last: Fraction


class NextImages(Settings):
    """Validation on the `next` images in file order after the first `train` ones."""

    next: Annotated[int, Field(gt=0)]


def _check_validation(raw: Any) -> Any:
    if isinstance(raw, Mapping):
        forms: dict[str, type[Settings]] = {"last": LastFraction, "next": NextImages}
        form = forms.get(str(next(iter(raw), "")))
        return form.model_validate(raw) if form else _refuse_validation(raw)
    number = isinstance(raw, int | float) and not isinstance(raw, bool)
    if raw == "test" or (number and (0 < raw < 1 or (raw >= 1 and raw % 1 == 0))):
        return int(raw) if number and raw >= 1 else raw
    return raw if isinstance(raw, LastFraction | NextImages) else _refuse_validation(raw)


def _refuse_validation(raw: Any) -> Any:
    raise ValueError(
        f"found {raw!r}; allowed: a number of images, a fraction below 1, {{last: FRACTION}}, {{next: N}}, test"
    )


def _write_validation(validation: Any) -> Any:
    return validation.model_dump() if isinstance(validation, Settings) else validation


Validation = Annotated[
    int | float | LastFraction | NextImages | Literal["test"],
    PlainValidator(_check_validation),
    PlainSerializer(_write_validation),
]


class DatasetConfig(Settings):
    """Which images, how they are split, and how pixels reach the network."""

    name: str = "digits"
    """digits | mnist | fashion_mnist | cifar10 | a folder of images | a Parquet file or pattern of training images."""
    test: str | None = None
    """Parquet file or pattern of the test images, where `name` is one of the training images."""
    image_size: Annotated[int, Field(ge=4, le=1024)] | None = None
    """Resize the images of a folder or of Parquet files to this side, in pixels."""
    train: Annotated[int, Field(gt=0)] | None = None
    """Only the first N training images, in file order."""
    validation: Validation = 0.1
    """N | fraction (both stratified, seeded) | {last: 0.2} | {next: 10000} | test (as published only)."""
    split_seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the validation split: the same for every trial of a study."""
    augment: Augment = Augment()
    pixels: Literal["unit", "symmetric", "standard", "raw"] = "unit"
    """[0, 1] | [-1, 1] | mean and deviation of the training images | 0 to 255."""


class Evaluate(Settings):
    """How validation images are looked at; anything but the defaults copies a report that did so."""

    batch_norm: Literal["eval", "train"] = "eval"
    augment: bool = False


class TrainingConfig(BaseModel):
    """The recipe of one training. Hyperparameters of the architecture stand beside the other keys.

    >>> TrainingConfig(architecture="alexnet", dropout=0.3).hyperparameters["dropout"]
    0.3
    """

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False)

    architecture: str = "lenet5"
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 64
    epochs: Annotated[int, Field(ge=1)] = 10
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Nesterov momentum of sgd; adam and adamw take no notice of it."""
    epsilon: Annotated[float, Field(gt=0)] = 1e-8
    """Added to the denominator of adam and adamw (Keras: 1e-7)."""
    schedule: Literal["constant", "cosine", "one_cycle"] = "constant"
    """Learning rate over the planned epochs, changed at every step."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    init: Literal["pytorch", "keras"] = "pytorch"
    """PyTorch's own initialization, or Keras's: Glorot-uniform weights and zero biases."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Numbers of the forward pass; weights are float32 in any case. auto: the fastest on CUDA, float32 on a CPU.

    Trained with bfloat16, processors that have AVX512-BF16 or AMX are 1.1 to 2.5 times as fast, others slower.
    """
    evaluate: Evaluate = Evaluate()

    @model_validator(mode="after")
    def _check_architecture(self) -> Self:
        try:
            declared = architecture(self.architecture).hyperparameters
        except SpecError as error:
            raise ValueError(str(error)) from None
        if taken := sorted(declared.keys() & type(self).model_fields):
            raise ValueError(f"architecture: {self.architecture} declares '{taken[0]}', which is a key of the recipe")
        for name, value in (self.model_extra or {}).items():
            if name not in declared:
                known = {*declared, *type(self).model_fields}
                raise ValueError(f"{name}: unknown for {self.architecture}; {suggest(name, known)}")
            low, high, kind = declared[name].low, declared[name].high, type(declared[name].default)
            if type(value) is not kind and not (type(value) is int and kind is float):
                raise ValueError(f"{name}: found {shown(value)}; allowed: {_KINDS[kind]}")
            if isinstance(value, int | float) and not (low is None or high is None or low <= value <= high):
                raise ValueError(f"{name}: {value} is outside [{low}, {high}]")
        return self

    @property
    def hyperparameters(self) -> dict[str, Scalar]:
        """Every hyperparameter that the architecture declares, with its value or default."""
        declared = architecture(self.architecture).hyperparameters
        given: dict[str, Any] = self.model_extra or {}
        return {name: given.get(name, parameter.default) for name, parameter in declared.items()}
