"""Training on real images (digits): learning, repeating, resuming and stopping."""

import dataclasses
import math
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name

from tests.support.cuda import needs_cuda
from tuner import models, training
from tuner.config.dataset import Augment, DatasetConfig
from tuner.config.registry import EXTRA_METRICS
from tuner.config.training import Evaluate, TrainingConfig
from tuner.data import Dataset, load
from tuner.data.device import DeviceDataset, ImageSubset
from tuner.errors import NotFiniteError, OutOfMemoryError, SpecError
from tuner.results.schema import EpochResult
from tuner.training.loop import Trainer
from tuner.training.metrics import extra_metrics
from tuner.training.seeds import derive_step_seed, shuffled

pytestmark = pytest.mark.usefixtures("one_thread")
AUGMENTED = DatasetConfig(train=300, validation=100, augment=Augment(flip=True, crop=2, rotate=10))
EVERYTHING_RANDOM = TrainingConfig(
    architecture="vazquez_base",
    dropout=0.4,
    optimizer="sgd",
    momentum=0.9,
    weight_decay=1e-3,
    learning_rate=0.05,
    schedule="one_cycle",
    label_smoothing=0.1,
    batch_size=32,
    epochs=3,
)
BATCH_STATISTICS = TrainingConfig(
    architecture="rubio_small",
    filters=4,
    schedule="cosine",
    batch_size=32,
    epochs=3,
    evaluate=Evaluate(batch_norm="train", augment=True),
)
WHOLE_RECIPE = TrainingConfig(
    architecture="rubio_small",
    filters=4,
    batch_size=32,
    epochs=3,
    schedule="cosine",
    warm_up=0.2,
    clip_norm=0.5,
    ema=0.9,
    random_resized_crop=0.5,
    color_jitter=0.3,
    rand_augment=7,
    trivial_augment=True,
    erasing=0.5,
    mixup=0.4,
    cutmix=1.0,
)
BALANCED = TrainingConfig(
    architecture="vazquez_base",
    dropout=0.4,
    sampling="balanced",
    class_weights="balanced",
    focal_gamma=2.0,
    batch_size=32,
    epochs=3,
)
RANDOM = pytest.mark.parametrize(
    "config",
    [EVERYTHING_RANDOM, BATCH_STATISTICS, WHOLE_RECIPE, BALANCED],
    ids=["everything", "batch-statistics", "whole-recipe", "balanced"],
)
LOG_EVERY = 4
STILL = 1e-30  # a learning rate that leaves the weights where they are


class InterruptedTrainingError(Exception):
    """End of a training from outside."""


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load(DatasetConfig(), cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def opened(digits: Dataset) -> Callable[..., DeviceDataset]:
    def open_(config: DatasetConfig | None = None, device: str = "cpu") -> DeviceDataset:
        return DeviceDataset.open(digits, config or DatasetConfig(), device)

    return open_


def numbers(result: EpochResult) -> dict[str, Any]:
    """Return what does not depend on the clock."""
    clock = {"seconds", "train_seconds", "evaluation_seconds", "images_per_second"}
    return {key: value for key, value in dataclasses.asdict(result).items() if key not in clock}


def weights(run: Trainer) -> dict[str, torch.Tensor]:
    averaged = {f"evaluated {name}": value for name, value in run.evaluated_model.state_dict().items()}
    return {name: value.clone() for name, value in (run.model.state_dict() | averaged).items()}


def assert_same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def interrupt_at(step: int, file: Path, config: TrainingConfig, data: DeviceDataset) -> list[EpochResult]:
    """Train until `step` (counted over the whole training), write a checkpoint there, and stop."""
    steps = 0

    def on_step() -> None:
        nonlocal steps
        steps += 1
        if steps == step:
            torch.save(run.state_dict(), file)
            raise InterruptedTrainingError

    run = Trainer(config, data, seed=7, log_every=LOG_EVERY, on_step=on_step)
    results: list[EpochResult] = []
    with pytest.raises(InterruptedTrainingError):
        results.extend(run)
    return results


def uneven(data: DeviceDataset) -> DeviceDataset:
    """Keep all training images of the first five digits and four of each other one."""
    labels = data.train.labels
    rare = [(labels == label).nonzero().squeeze(1)[:4] for label in range(5, 10)]
    index = torch.cat([(labels < 5).nonzero().squeeze(1), *rare])
    return dataclasses.replace(data, train=ImageSubset(data.train.images, index, labels[index]))


@pytest.mark.parametrize("remedy", [{"sampling": "balanced"}, {"class_weights": "balanced"}], ids=str)
@pytest.mark.slow
def test_rare_classes_are_learned_when_balanced(remedy: dict[str, Any], opened: Callable[..., DeviceDataset]) -> None:
    data = uneven(opened(DatasetConfig(validation=0.3)))
    recalls = []
    for changes in ({}, remedy):
        config = TrainingConfig.model_validate(
            {"architecture": "vazquez_base", "batch_size": 32, "epochs": 6, **changes}
        )
        results = list(Trainer(config, data, seed=1, metrics=["val_balanced_accuracy"]))
        recalls.append(results[-1].val_balanced_accuracy or 0)
    assert recalls[1] > recalls[0] + 0.1


def test_extra_metrics_are_those_of_the_predictions(opened: Callable[..., DeviceDataset]) -> None:
    data = opened(AUGMENTED)
    run = Trainer(EVERYTHING_RANDOM, data, seed=3, metrics=EXTRA_METRICS)
    plain = Trainer(EVERYTHING_RANDOM, data, seed=3)
    assert set(run.measure()) == {"val_loss", "val_accuracy", *EXTRA_METRICS}
    for result, without in zip(run, plain, strict=True):
        measured = {name: getattr(result, name) for name in EXTRA_METRICS}
        assert measured == extra_metrics(EXTRA_METRICS, run.logits(data.validation), data.validation.labels)
        assert all(isinstance(value, float) for value in measured.values())
        assert numbers(without) == numbers(dataclasses.replace(result, **dict.fromkeys(EXTRA_METRICS)))


def test_training_learns_digits(opened: Callable[..., DeviceDataset]) -> None:
    run = training.train(TrainingConfig(architecture="vazquez_base", batch_size=32, epochs=6), opened())
    results = list(run)
    assert [result.epoch for result in results] == [1, 2, 3, 4, 5, 6]
    assert run.epoch == 6
    assert results[-1].val_accuracy > 0.9
    assert results[-1].train_loss < results[0].train_loss / 3
    loss, accuracy = run.evaluate(run.data.test)
    assert accuracy > 0.9
    assert 0 < loss < 0.5


@pytest.mark.slow
@RANDOM
def test_training_repeats_bit_for_bit(config: TrainingConfig, opened: Callable[..., DeviceDataset]) -> None:
    torch.manual_seed(1)
    first = Trainer(config, opened(AUGMENTED), seed=7)
    expected = [numbers(result) for result in first]
    torch.manual_seed(2)
    second = Trainer(config, opened(AUGMENTED), seed=7, on_step=lambda: torch.manual_seed(3))
    assert [numbers(result) for result in second] == expected
    assert_same_weights(weights(first), weights(second))


@pytest.mark.parametrize(
    "change",
    [
        {"random_resized_crop": 0.3},
        {"color_jitter": 0.5},
        {"rand_augment": 9},
        {"trivial_augment": True},
        {"erasing": 0.5},
        {"mixup": 0.4},
        {"cutmix": 1.0},
        {"clip_norm": 0.01},
        {"warm_up": 0.5},
    ],
    ids=lambda change: next(iter(change)),
)
def test_recipe_changes_training_alone(change: dict[str, Any], opened: Callable[..., DeviceDataset]) -> None:
    data = opened(DatasetConfig(train=100, validation=100))
    recipe = {"architecture": "rubio_small", "filters": 4, "batch_size": 32, "epochs": 1, "optimizer": "sgd"}
    plain, changed = (Trainer(TrainingConfig(**recipe, **more), data, seed=7) for more in ({}, change))
    assert plain.evaluate(data.validation) == changed.evaluate(data.validation)
    next(plain), next(changed)
    assert plain.evaluate(data.validation) != changed.evaluate(data.validation)


def test_average_is_what_is_evaluated(opened: Callable[..., DeviceDataset]) -> None:
    data = opened(DatasetConfig(train=300, validation=100))
    run = Trainer(TrainingConfig(architecture="rubio_small", filters=4, ema=0.99, epochs=2), data, seed=7)
    first = next(run)
    apart = Trainer(TrainingConfig(architecture="rubio_small", filters=4), data, seed=7)
    apart.model.load_state_dict(run.evaluated_model.state_dict())
    assert apart.evaluate(data.validation) == (first.val_loss, first.val_accuracy)
    apart.model.load_state_dict(run.model.state_dict())
    assert apart.evaluate(data.validation) != (first.val_loss, first.val_accuracy)


def test_clip_norm_bounds_each_step(opened: Callable[..., DeviceDataset]) -> None:
    recipe = {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 1.0, "batch_size": 32, "clip_norm": 0.01}
    recipe |= {"architecture": "rubio_small"}
    run = Trainer(TrainingConfig(**recipe, epochs=1), opened(DatasetConfig(train=32, validation=100)), seed=7)
    before = [parameter.detach().clone() for parameter in run.model.parameters()]
    next(run)
    moves = [(now - then).square().sum() for now, then in zip(run.model.parameters(), before, strict=True)]
    assert torch.stack(moves).sum().sqrt().item() == pytest.approx(0.01, rel=0.01)


def test_step_log_leaves_the_training_alone(
    opened: Callable[..., DeviceDataset],
) -> None:
    data = opened(DatasetConfig(train=320, validation=100))
    config = TrainingConfig(architecture="rubio_small", filters=4, batch_size=32, epochs=3, learning_rate=STILL)
    logged, plain = Trainer(config, data, seed=7, log_every=15), Trainer(config, data, seed=7)
    results = list(logged)
    assert [[line.step for line in result.steps] for result in results] == [[], [15], [30]]  # ten steps an epoch
    assert [{**numbers(result), "steps": ()} for result in results] == [numbers(result) for result in plain]
    assert_same_weights(weights(logged), weights(plain))
    # the weights stay, so that a line is the mean over its steps: all of epoch 3 and the last five of epoch 2
    last, whole = results[2].steps[0], results[2]
    assert (last.val_loss, last.val_accuracy) == (whole.val_loss, whole.val_accuracy)
    assert last.train_loss == pytest.approx(whole.train_loss, rel=0.2)


def test_evaluate_before_training_changes_nothing(opened: Callable[..., DeviceDataset]) -> None:
    looked_at, plain = (Trainer(BATCH_STATISTICS, opened(AUGMENTED), seed=7) for _ in range(2))
    assert looked_at.evaluate(looked_at.data.validation)[1] < 0.4
    assert numbers(next(looked_at)) == numbers(next(plain))


def test_training_depends_on_its_seed(opened: Callable[..., DeviceDataset]) -> None:
    data = opened(AUGMENTED)
    one, other = (Trainer(EVERYTHING_RANDOM, data, seed=seed) for seed in (1, 2))
    assert not torch.equal(next(one.model.parameters()), next(other.model.parameters()))
    assert next(one).train_loss != next(other).train_loss


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 14, 20, 30], ids=["first", "middle", "last-of-an-epoch", "last-of-all"])
@RANDOM
def test_training_resumes_bit_for_bit_anywhere(
    config: TrainingConfig, step: int, tmp_path: Path, opened: Callable[..., DeviceDataset]
) -> None:
    data = opened(AUGMENTED)
    uninterrupted = Trainer(config, data, seed=7, log_every=LOG_EVERY)
    expected = [numbers(result) for result in uninterrupted]
    before = interrupt_at(step, tmp_path / "checkpoint.pt", config, data)

    resumed = Trainer(config, data, seed=7, log_every=LOG_EVERY)
    resumed.load_state_dict(torch.load(tmp_path / "checkpoint.pt", weights_only=True))
    assert resumed.epoch == len(before) == (step - 1) // 10  # ten steps make an epoch
    assert [numbers(result) for result in [*before, *resumed]] == expected
    assert_same_weights(weights(resumed), weights(uninterrupted))
    assert resumed.evaluate(resumed.data.test) == uninterrupted.evaluate(uninterrupted.data.test)


def test_training_resumes_between_epochs(tmp_path: Path, opened: Callable[..., DeviceDataset]) -> None:
    data = opened(AUGMENTED)
    run = Trainer(EVERYTHING_RANDOM, data, seed=7)
    next(run)
    torch.save(run.state_dict(), tmp_path / "checkpoint.pt")
    expected = [numbers(result) for result in run]
    assert [result["epoch"] for result in expected] == [2, 3]

    resumed = Trainer(EVERYTHING_RANDOM, data, seed=7)
    resumed.load_state_dict(torch.load(tmp_path / "checkpoint.pt", weights_only=True))
    assert [numbers(result) for result in resumed] == expected


def test_training_seconds_carry_over_a_resume(tmp_path: Path, opened: Callable[..., DeviceDataset]) -> None:
    data = opened(AUGMENTED)
    interrupt_at(5, tmp_path / "checkpoint.pt", EVERYTHING_RANDOM, data)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["train_seconds"] > 0
    state["train_seconds"] += 1e9
    resumed = Trainer(EVERYTHING_RANDOM, data, seed=7)
    resumed.load_state_dict(state)
    first, second, _ = resumed
    assert first.train_seconds > 1e9
    assert first.seconds > first.train_seconds
    assert second.seconds < 1e9


@pytest.mark.parametrize(
    ("config", "dataset", "seed", "complaint"),
    [
        (EVERYTHING_RANDOM.model_copy(update={"batch_size": 16}), AUGMENTED, 7, "batch_size 32, not 16"),
        (EVERYTHING_RANDOM, AUGMENTED.model_copy(update={"pixels": "raw"}), 7, "dataset.pixels 'unit', not 'raw'"),
        (EVERYTHING_RANDOM, AUGMENTED, 8, "seed 7, not 8"),
        (EVERYTHING_RANDOM.model_copy(update={"focal_gamma": 1.0}), AUGMENTED, 7, "focal_gamma None, not 1.0"),
    ],
)
def test_load_state_dict_refuses_another_training(
    config: TrainingConfig, dataset: DatasetConfig, seed: int, complaint: str, opened: Callable[..., DeviceDataset]
) -> None:
    state = Trainer(EVERYTHING_RANDOM, opened(AUGMENTED), seed=7).state_dict()
    with pytest.raises(SpecError, match=f"^checkpoint: of a training with {complaint}$"):
        Trainer(config, opened(dataset), seed=seed).load_state_dict(state)


def test_load_state_dict_accepts_written_out_defaults(opened: Callable[..., DeviceDataset]) -> None:
    data = opened()
    state = Trainer(TrainingConfig(architecture="vazquez_base"), data).state_dict()
    Trainer(TrainingConfig(architecture="vazquez_base", dropout=0.0, dense=128), data).load_state_dict(state)


def test_nan_loss_ends_training_within_fifty_steps(opened: Callable[..., DeviceDataset]) -> None:
    steps: list[int] = []
    config = TrainingConfig(architecture="vazquez_base", learning_rate=1e20, batch_size=4)
    run = Trainer(config, opened(), on_step=lambda: steps.append(1))
    with pytest.raises(NotFiniteError, match=r"^training loss is (nan|inf) in epoch 1, at or before step 50$"):
        next(run)
    assert len(steps) < 50


def test_nan_loss_ends_a_short_epoch(opened: Callable[..., DeviceDataset]) -> None:
    config = TrainingConfig(architecture="vazquez_base", learning_rate=1e20, batch_size=100)
    with pytest.raises(NotFiniteError, match=r"^training loss is (nan|inf) in epoch 1, at or before step 3$"):
        next(Trainer(config, opened(AUGMENTED)))


def test_nan_validation_loss_ends_training(opened: Callable[..., DeviceDataset]) -> None:
    def spoil() -> None:
        with torch.no_grad():
            next(run.model.parameters()).fill_(math.nan)

    config = TrainingConfig(architecture="vazquez_base", batch_size=300)  # one step, spoilt after its loss was taken
    run = Trainer(config, opened(AUGMENTED), on_step=spoil)
    with pytest.raises(NotFiniteError, match=r"^validation loss is nan after epoch 1$"):
        next(run)


def test_losses_are_means_over_images(opened: Callable[..., DeviceDataset]) -> None:
    data = opened(DatasetConfig(train=300, validation=100))
    config = TrainingConfig(architecture="vazquez_base", learning_rate=STILL, label_smoothing=0.2, batch_size=64)
    run = Trainer(config, data)
    result = next(run)
    with torch.no_grad():
        for images, smoothing, loss, accuracy in (
            (data.train, 0.2, result.train_loss, result.train_accuracy),
            (data.validation, 0.0, result.val_loss, result.val_accuracy),
        ):
            logits = run.model(images.images / 255)
            surprise = -logits.log_softmax(dim=1)
            truth = surprise[torch.arange(len(images)), images.labels].mean()
            assert loss == pytest.approx(((1 - smoothing) * truth + smoothing * surprise.mean()).item(), rel=1e-5)
            assert accuracy == (logits.argmax(1) == images.labels).double().mean().item()


def test_weights_equal_those_of_a_plain_loop(opened: Callable[..., DeviceDataset]) -> None:
    data = opened(DatasetConfig(train=300, validation=100))
    config = TrainingConfig(architecture="vazquez_base", optimizer="sgd", learning_rate=0.02, batch_size=32, epochs=2)
    run = Trainer(config, data, seed=3)
    initial = weights(run)
    plain = models.build("vazquez_base", in_channels=1, classes=10, image_size=8)
    plain.load_state_dict(run.model.state_dict())
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.02, momentum=0.9, nesterov=True, foreach=False)
    for epoch in range(2):
        for indices in shuffled(300, derive_step_seed(3, "order", epoch)).split(32):
            loss = F.cross_entropy(plain(data.train.images[indices] / 255), data.train.labels[indices])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert len(list(run)) == 2
    for name, expected_values in plain.named_parameters():
        change, expected = (values - initial[name] for values in (run.model.get_parameter(name), expected_values))
        assert (change - expected).norm() < 1e-3 * expected.norm(), name  # float32, added up in another order


def test_result_has_the_last_steps_learning_rate(opened: Callable[..., DeviceDataset]) -> None:
    config = TrainingConfig(architecture="vazquez_base", schedule="cosine", learning_rate=0.01, batch_size=32, epochs=2)
    rates = [result.learning_rate for result in Trainer(config, opened(AUGMENTED))]
    assert rates == [pytest.approx(0.005 * (1 + math.cos(math.pi * step / 20))) for step in (9, 19)]


def test_keras_initialization_has_zero_biases(opened: Callable[..., DeviceDataset]) -> None:
    run = Trainer(TrainingConfig(architecture="vazquez_base", init="keras"), opened())
    assert not any(value.any() for name, value in weights(run).items() if name.endswith("bias"))


def test_evaluation_moves_statistics_only_if_asked(
    opened: Callable[..., DeviceDataset],
) -> None:
    data = opened(DatasetConfig(train=300, validation=100))
    for mode, moved in (("eval", False), ("train", True)):
        config = TrainingConfig(
            architecture="rubio_small", filters=4, batch_size=100, evaluate=Evaluate(batch_norm=mode)
        )
        trained: list[dict[str, torch.Tensor]] = []
        run = Trainer(config, data, on_step=lambda: trained.append(weights(run)))  # noqa: B023 - called in this turn
        next(run)
        key = next(name for name in trained[-1] if name.endswith("running_mean"))
        assert torch.equal(trained[-1][key], weights(run)[key]) is not moved


def test_evaluation_in_training_mode_uses_batch_statistics(
    opened: Callable[..., DeviceDataset],
) -> None:
    data = opened(DatasetConfig(train=300, validation=100))
    config = TrainingConfig(
        architecture="rubio_small", filters=4, batch_size=32, epochs=1, evaluate=Evaluate(batch_norm="train")
    )
    run = Trainer(config, data, seed=5)
    result = next(run)
    run.model.train()
    with torch.no_grad():
        cut = shuffled(100, derive_step_seed(5, "evaluation order", 1)).split(32)
        logits = torch.cat([run.model(data.validation.images[indices] / 255) for indices in cut])
    labels = data.validation.labels[torch.cat(cut)]
    assert result.val_loss == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-4)
    run.model.eval()
    with torch.no_grad():
        usual = F.cross_entropy(run.model(data.validation.images / 255), data.validation.labels).item()
    assert usual != pytest.approx(result.val_loss, rel=1e-2)


def test_evaluation_in_training_mode_keeps_dropout_on(opened: Callable[..., DeviceDataset]) -> None:
    data = opened()
    losses = {}
    for mode in ("eval", "train"):
        config = TrainingConfig(
            architecture="vazquez_base", dropout=0.5, learning_rate=STILL, evaluate=Evaluate(batch_norm=mode)
        )
        losses[mode] = [next(Trainer(config, data)).val_loss for _ in range(2)]
        assert losses[mode][0] == losses[mode][1]
    assert losses["eval"][0] != losses["train"][0]


def test_evaluation_augments_only_if_asked(opened: Callable[..., DeviceDataset]) -> None:
    def val_loss(augment: Augment, evaluate: Evaluate) -> float:
        data = opened(DatasetConfig(augment=augment))
        config = TrainingConfig(architecture="vazquez_base", learning_rate=STILL, evaluate=evaluate)
        return next(Trainer(config, data)).val_loss

    plain = val_loss(Augment(), Evaluate())
    assert val_loss(Augment(crop=3), Evaluate()) == plain
    assert val_loss(Augment(crop=3), Evaluate(augment=True)) != plain
    assert val_loss(Augment(), Evaluate(augment=True)) == plain


@RANDOM
def test_predictions_agree_with_the_accuracy(config: TrainingConfig, opened: Callable[..., DeviceDataset]) -> None:
    data = opened(AUGMENTED)
    run = Trainer(config, data)
    result = next(run)
    probabilities = run.predict(data.validation)
    assert probabilities.shape == (100, 10)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(100))
    accuracy = (probabilities.argmax(dim=1) == data.validation.labels).double().mean().item()
    assert accuracy == result.val_accuracy


def test_evaluate_leaves_no_trace_in_the_network(opened: Callable[..., DeviceDataset]) -> None:
    run = Trainer(BATCH_STATISTICS, opened(AUGMENTED))
    next(run)
    before = weights(run)
    assert run.evaluate(run.data.test) == run.evaluate(run.data.test)
    assert_same_weights(before, weights(run))


def test_batch_norm_survives_one_last_image(opened: Callable[..., DeviceDataset]) -> None:
    data = opened(DatasetConfig(train=65, validation=65))
    for mode in ("eval", "train"):
        config = TrainingConfig(
            architecture="rubio_small", filters=4, batch_size=64, evaluate=Evaluate(batch_norm=mode)
        )
        steps: list[int] = []
        result = next(Trainer(config, data, on_step=lambda: steps.append(1)))  # noqa: B023 - called in this turn
        assert len(steps) == 1
        assert math.isfinite(result.val_loss)


def test_batch_norm_refuses_batches_of_one(opened: Callable[..., DeviceDataset]) -> None:
    data = opened(DatasetConfig(train=20, validation=20))
    with pytest.raises(SpecError, match=r"^batch_size: rubio_small has batch normalization [^\n]*; 2 or more$"):
        Trainer(TrainingConfig(architecture="rubio_small", batch_size=1), data)
    assert next(Trainer(TrainingConfig(architecture="vazquez_base", batch_size=1), data)).epoch == 1


def test_training_refuses_too_small_images(opened: Callable[..., DeviceDataset]) -> None:
    with pytest.raises(SpecError, match=r"^architecture: alexnet needs images of 15 pixels or more, not 8$"):
        Trainer(TrainingConfig(architecture="alexnet"), opened())


def test_result_has_speed_and_memory(opened: Callable[..., DeviceDataset]) -> None:
    steps: list[int] = []
    run = Trainer(EVERYTHING_RANDOM, opened(AUGMENTED), on_step=lambda: steps.append(1))
    result = next(run)
    assert len(steps) == 10
    assert result.seconds > result.train_seconds > 0
    assert result.images_per_second == pytest.approx(300 / result.train_seconds)
    assert result.peak_memory_bytes is None
    assert run.device_description == "cpu"
    assert run.parameters_count == 32 * (9 + 1) + 128 * (32 * 3 * 3 + 1) + 10 * (128 + 1)


@contextmanager
def memory_limited_to(more: int) -> Iterator[None]:
    """Let this process take only some bytes more than it has."""
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (in_use + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="limits the address space as Linux does")


@needs_linux
def test_out_of_memory_is_one_line(opened: Callable[..., DeviceDataset]) -> None:
    data = opened(DatasetConfig(train=300, validation=100))
    wide = TrainingConfig(architecture="vazquez_base", filters=8192, dense=64, batch_size=300)  # 354 MB of maps
    run = Trainer(wide, data)
    complaint = r"^vazquez_base with batch_size 300 does not fit .* memory of cpu$"
    with memory_limited_to(100 * 2**20), pytest.raises(OutOfMemoryError, match=complaint):
        next(run)


@needs_linux
@pytest.mark.slow
def test_evaluation_batch_is_halved_until_it_fits(opened: Callable[..., DeviceDataset]) -> None:
    data = opened(DatasetConfig(train=300, validation=125))
    run = Trainer(TrainingConfig(architecture="vazquez_base", filters=8192, dense=8, batch_size=4), data)
    expected = run.evaluate(data.validation)
    sizes: list[int] = []
    run.model.register_forward_pre_hook(lambda _, images: sizes.append(len(images[0])))
    with memory_limited_to(90 * 2**20):  # 125 images make 147 MB of maps
        assert run.evaluate(data.validation) == pytest.approx(expected, rel=1e-5)
    assert sizes[0] == 125
    assert max(sizes[1:]) < 125
    assert sizes[-1] <= sizes[1]


@needs_linux
@pytest.mark.parametrize("evaluate", [Evaluate(batch_norm="train"), Evaluate(augment=True)])
def test_evaluation_batch_that_decides_numbers_stays(evaluate: Evaluate, opened: Callable[..., DeviceDataset]) -> None:
    data = opened(DatasetConfig(train=300, validation=125))
    config = TrainingConfig(architecture="vazquez_base", filters=8192, dense=8, batch_size=125, evaluate=evaluate)
    run = Trainer(config, data)
    run.evaluate(data.validation)
    with memory_limited_to(90 * 2**20), pytest.raises(OutOfMemoryError):
        run.evaluate(data.validation)


def test_other_errors_are_not_memory_errors(opened: Callable[..., DeviceDataset]) -> None:
    def fail() -> None:
        raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError, match="disk on fire"):
        next(Trainer(EVERYTHING_RANDOM, opened(AUGMENTED), on_step=fail))


@needs_cuda
def test_training_learns_digits_on_cuda(opened: Callable[..., DeviceDataset]) -> None:
    run = Trainer(TrainingConfig(architecture="vazquez_base", epochs=6, batch_size=32), opened(device="cuda:0"))
    results = list(run)
    assert results[-1].val_accuracy > 0.9
    assert results[-1].peak_memory_bytes > 0
    assert run.device_description.startswith("cuda:0")
    assert run.evaluate(run.data.test)[1] > 0.9


@needs_cuda
def test_training_starts_with_same_weights_on_cuda(opened: Callable[..., DeviceDataset]) -> None:
    on_cpu, on_gpu = (Trainer(EVERYTHING_RANDOM, opened(AUGMENTED, device), seed=7) for device in ("cpu", "cuda:0"))
    assert_same_weights(weights(on_cpu), {name: value.cpu() for name, value in weights(on_gpu).items()})


@needs_cuda
def test_training_resumes_within_an_epoch_on_cuda(tmp_path: Path, opened: Callable[..., DeviceDataset]) -> None:
    data = opened(AUGMENTED, "cuda:0")
    uninterrupted = Trainer(EVERYTHING_RANDOM, data, seed=7)
    expected = [result.train_loss for result in uninterrupted]
    before = interrupt_at(14, tmp_path / "checkpoint.pt", EVERYTHING_RANDOM, data)
    resumed = Trainer(EVERYTHING_RANDOM, data, seed=7)
    resumed.load_state_dict(torch.load(tmp_path / "checkpoint.pt", weights_only=True))
    losses = [result.train_loss for result in [*before, *resumed]]
    assert losses == pytest.approx(expected, rel=0.05)  # CUDA adds up in no fixed order


@needs_cuda
def test_out_of_cuda_memory_is_one_line(opened: Callable[..., DeviceDataset]) -> None:
    data = opened(DatasetConfig(train=300, validation=100), "cuda:0")
    wide = TrainingConfig(architecture="vazquez_base", filters=8192, dense=64, batch_size=300)
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.001)
    try:
        with pytest.raises(OutOfMemoryError, match=r"^vazquez_base with batch_size 300 does not fit .* of cuda:0$"):
            next(Trainer(wide, data))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
