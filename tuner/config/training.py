"""Section `training`: the recipe of one training, and its defaults."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tuner.config.registry import Hyperparameter, Scalar, architecture
from tuner.config.settings import Settings
from tuner.config.validation_messages import shown
from tuner.errors import SpecError, shorten, suggest

_KINDS: Mapping[type, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}

_FIRST_KEYS = {
    *("architecture", "batch_size", "epochs", "optimizer", "learning_rate", "weight_decay", "momentum"),
    *("epsilon", "schedule", "label_smoothing", "init", "precision", "evaluate"),
}
"""Keys of the recipe that the first checkpoints have."""


class Evaluate(Settings):
    """Evaluation settings. Values other than the defaults reproduce published reports."""

    batch_norm: Literal["eval", "train"] = "eval"
    """Statistics of batch norm in evaluations: learned (eval) or of the batch (train)."""
    augment: bool = False
    """Change the evaluated images at random, as the training images are."""


class TrainingConfig(BaseModel):
    """The recipe of one training.

    Hyperparameters of the architecture stand beside the other keys.

    >>> TrainingConfig(architecture="alexnet", dropout=0.3).hyperparameters["dropout"]
    0.3
    """

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False)

    architecture: str = "lenet5"
    """Name of a network, see [architectures](architectures.md)."""
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 64
    """Images per optimizer step."""
    epochs: Annotated[int, Field(ge=1, le=1_000_000)] = 10
    """Passes over the training images."""
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    """Rule of the weight updates. sgd has Nesterov momentum."""
    learning_rate: Annotated[float, Field(gt=0, le=1e30)] = 1e-3
    """Highest learning rate of the schedule."""
    weight_decay: Annotated[float, Field(ge=0, le=1_000_000)] = 0.0
    """Decay of the weights, decoupled from the gradient in adamw."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Nesterov momentum of sgd. adam and adamw ignore it."""
    epsilon: Annotated[float, Field(gt=0, le=1_000_000)] = 1e-8
    """Added to the denominator of adam and adamw (Keras: 1e-7)."""
    schedule: Literal["constant", "cosine", "one_cycle"] = "constant"
    """Course of the learning rate over the planned epochs, changed at every step."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the target that is spread over all classes, in training only."""
    warm_up: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the steps in which the learning rate rises. one_cycle: 0 means 0.3."""
    clip_norm: Annotated[float, Field(ge=0, le=1_000_000)] = 0.0
    """Largest norm of the gradient of all weights together. 0: no limit."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the averaged weights that stays at every step. They are evaluated. 0: no average."""
    random_resized_crop: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Smallest share of a training image's area that is cut and resized. 1: off."""
    color_jitter: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Largest change of the factors of brightness, contrast and saturation from 1."""
    rand_augment: Annotated[float, Field(ge=0, le=30)] = 0.0
    """Strength of RandAugment's two operations per image. 0: off."""
    trivial_augment: bool = False
    """One operation of random strength per image (TrivialAugment, wide)."""
    erasing: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Probability that a box of a training image is set to 0 after normalization."""
    mixup: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Alpha of the Beta distribution by which two images and their labels are mixed. 0: off."""
    cutmix: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Alpha of the Beta distribution by which a box of another image is put in. 0: off."""
    focal_gamma: Annotated[float, Field(ge=0, le=5)] = 0.0
    """Focal loss: exponent that lowers the loss of images which are classified well. 0: cross-entropy."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: an image weighs N / (classes * training images of its class) in the loss."""
    sampling: Literal["shuffled", "balanced"] = "shuffled"
    """balanced: each epoch draws N images with replacement, every class equally likely."""
    pretrained: bool | str = False
    """Path to a state dict (.pt, .pth or .safetensors) that the network starts from. Its head may be of other classes.

    true: the weights that torchvision or timm publishes for the network. See [pretrained networks](pretrained.md).
    """
    freeze: Annotated[int, Field(ge=0, le=1_000_000)] | Literal["all"] = 0
    """Epochs in which only the head is trained, before the whole network is. all: the head alone."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Factor of the learning rate per stage of the network, from the head down to the first layer."""
    head_learning_rate: Annotated[float, Field(gt=0, le=1e30)] | None = None
    """Highest learning rate of the head. None: that of the other layers."""
    init: Literal["pytorch", "keras"] = "pytorch"
    """Initialization as in PyTorch, or as in Keras: Glorot-uniform weights and zero biases."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number type of the forward pass. Weights are float32 in any case.

    auto: bfloat16 on CUDA devices of compute capability 8.0 or more, else float32. With bfloat16, processors
    that have AVX512-BF16 or AMX are 1.1 to 2.5 times as fast, others slower.
    """
    evaluate: Evaluate = Evaluate()
    """Settings of evaluations."""

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
                raise ValueError(f"{shorten(name)}: unknown for {self.architecture}; {suggest(name, known)}")
            check_hyperparameter(name, value, declared[name])
        return self

    @model_validator(mode="after")
    def _check_average(self) -> Self:
        if self.ema and self.evaluate.batch_norm == "train":
            raise ValueError(f"ema: found {self.ema} with evaluate.batch_norm train; allowed: 0, or batch_norm eval")
        return self

    @property
    def decisive(self) -> dict[str, Any]:
        """Every value that decides the numbers of a training.

        Keys of later versions are left out at their defaults, because earlier checkpoints lack them.
        """
        later = {name: field.default for name, field in type(self).model_fields.items() if name not in _FIRST_KEYS}
        values = self.model_dump(mode="json")
        return {key: value for key, value in values.items() if key not in later or value != later[key]}

    @property
    def has_groups(self) -> bool:
        """True if some layers have another learning rate than others."""
        return self.layer_decay < 1 or self.head_learning_rate is not None

    @property
    def hyperparameters(self) -> dict[str, Scalar]:
        """Every hyperparameter of the architecture, with its value or default."""
        declared = architecture(self.architecture).hyperparameters
        given: dict[str, Any] = self.model_extra or {}
        return {name: given.get(name, parameter.default) for name, parameter in declared.items()}


def check_hyperparameter(name: str, value: Any, declared: Hyperparameter) -> None:
    """Raise ValueError if a hyperparameter is not valid.

    It must have the type of its default and lie within its bounds.
    """
    low, high, kind = declared.low, declared.high, type(declared.default)
    if type(value) is not kind and not (type(value) is int and kind is float):
        is_fraction = kind is int and isinstance(value, float)
        hint = f", as its default {declared.default}; a default of {declared.default}.0 allows fractions"
        raise ValueError(f"{name}: found {shown(value)}; allowed: {_KINDS[kind]}{hint if is_fraction else ''}")
    if isinstance(value, int | float) and not (low is None or high is None or low <= value <= high):
        raise ValueError(f"{name}: {shown(value)} is outside [{low}, {high}]")
