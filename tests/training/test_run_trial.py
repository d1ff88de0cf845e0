"""Attempts at a trial, on real digits: reports, resuming and files."""

import gc
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.waiting import PATIENCE
from tuner import models
from tuner.config.budget import Budget
from tuner.config.registry import METRICS, SPEED_METRICS, TEST_METRICS
from tuner.config.study import StudyConfig, parse_spec
from tuner.data import load
from tuner.data.device import device_data
from tuner.errors import DataError, NotFiniteError, OutOfTimeError, SpecError
from tuner.results.folder import StudyFolder
from tuner.results.schema import COLUMNS, EpochResult, outcome
from tuner.training import checkpoint as checkpoints
from tuner.training.checkpoint import Checkpointer, identity
from tuner.training.loop import Trainer, train
from tuner.training.run_trial import run_trial

SPEC = parse_spec(
    {
        "study": "attempts",
        "dataset": {"name": "digits", "train": 320, "validation": 64, "augment": {"crop": 1}},
        "training": {"architecture": "vazquez_base", "epochs": 3, "batch_size": 64, "schedule": "one_cycle"},
        "space": {"learning_rate": {"float": [1e-4, 1e20]}, "dropout": {"float": [0, 0.5]}},
    }
)
STEPS = 5  # of an epoch
PARAMETERS = {"learning_rate": 2e-2, "dropout": 0.3}
CLOCK = {
    "seconds",
    "train_seconds",
    "evaluation_seconds",
    "checkpoint_seconds",
    "images_per_second",
    "replayed",
}
Reports = Iterator[dict[str, Any]]
Run = Callable[..., Reports]


class KilledError(BaseException):
    """The process ends here."""


@pytest.fixture(scope="module", autouse=True)
def threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return load(SPEC.dataset, cache=tmp_path_factory.mktemp("cache")).folder


@pytest.fixture
def run(tmp_path: Path, dataset: Path) -> Run:
    def run_(spec: StudyConfig = SPEC, images: Path = dataset, seed: int = 1, **changes: Any) -> Reports:
        return run_trial(spec, str(tmp_path), images, 4, PARAMETERS | changes, seed)

    return run_


@pytest.fixture(scope="module")
def undisturbed(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return numbers(run_trial(SPEC, str(tmp_path_factory.mktemp("whole")), dataset, 4, PARAMETERS, 1))


@pytest.fixture
def save_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SHARE", 1e9)


def numbers(reports: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what does not depend on the clock."""
    return [{key: value for key, value in report.items() if key not in CLOCK} for report in reports]


def checkpoint(folder: Path) -> Path:
    return folder / StudyFolder(folder).checkpoint(4)


def kill_after(calls: int, reports: Reports, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Train until the n-th call of `save_if_due` and die there."""
    made: list[dict[str, Any]] = []
    save, count = Checkpointer.save_if_due, 0

    def save_and_die(keeper: Checkpointer) -> None:
        nonlocal count
        save(keeper)
        count += 1
        if count == calls:
            raise KilledError

    with monkeypatch.context() as context:
        context.setattr(Checkpointer, "save_if_due", save_and_die)
        with pytest.raises(KilledError):
            made.extend(reports)
    return made


# --- reports ------------------------------------------------------------------------------------------------------


def test_run_trial_reports_epochs_and_test(
    run: Run,
) -> None:
    reports = list(run())
    assert [report["epoch"] for report in reports] == [1, 2, 3]
    fields = {*EpochResult.__dataclass_fields__, "checkpoint_seconds"}
    fields |= {"epochs_planned", "parameters_count", "device"}
    assert [set(report) - fields for report in reports] == [
        set(),
        set(),
        {*TEST_METRICS, "predictions", "classes", "done"},
    ]
    assert all(fields <= set(report) for report in reports)
    assert set(METRICS) - set(SPEED_METRICS) <= fields
    assert all(report["epochs_planned"] == 3 and report["device"] for report in reports)
    assert 0 < reports[0]["train_seconds"] < reports[1]["train_seconds"] < reports[2]["train_seconds"]
    assert reports[2]["train_seconds"] < sum(report["seconds"] for report in reports)
    assert reports[2]["val_accuracy"] > 0.5
    assert reports[2]["test_accuracy"] > 0.5
    assert reports[2]["done"] is True


def slow_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every epoch take a minute."""

    def seconds(keeper: Checkpointer) -> float:
        return 60 * (len(keeper.reports) + keeper._trainer._current.step / STEPS)

    monkeypatch.setattr(Checkpointer, "elapsed_seconds", property(seconds))


@pytest.mark.parametrize(("minutes", "epochs"), [(1, 1), (2.5, 2), (3, 3)])
def test_trial_out_of_time_ends_at_its_last_epoch(
    minutes: float, epochs: int, run: Run, undisturbed: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_down(monkeypatch)
    limited = SPEC.model_copy(update={"budget": Budget(trial_minutes=minutes)})
    reports = numbers(run(limited))
    assert [report["val_loss"] for report in reports[:epochs]] == [each["val_loss"] for each in undisturbed[:epochs]]
    if epochs == 3:
        assert "out_of_time" not in reports[-1]
    else:
        assert reports[-1] == {**reports[-2], "out_of_time": True, "done": True}
        assert outcome(reports[-1]) == "PRUNED"


def test_trial_out_of_time_within_its_first_epoch_fails(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    slow_down(monkeypatch)
    with pytest.raises(OutOfTimeError, match=r"no epoch was complete after budget.trial_minutes, 0.5"):
        list(run(SPEC.model_copy(update={"budget": Budget(trial_minutes=0.5)})))


@pytest.mark.usefixtures("save_at_every_step")
def test_speed_is_measured_once_in_a_trial(
    run: Run, undisturbed: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []
    measure = Trainer.seconds_per_image

    def counted(trainer: Trainer, size: int) -> float:
        measured.append(size)
        return measure(trainer, size)

    monkeypatch.setattr(Trainer, "seconds_per_image", counted)
    objective = [
        {"maximize": "val_accuracy"},
        {"minimize": "seconds_per_image_1"},
        {"minimize": "seconds_per_image_64"},
    ]
    fast = parse_spec({**SPEC.to_dict(), "objective": objective})
    kill_after(2 * STEPS, run(fast), monkeypatch)
    reports = list(run(fast))
    assert measured == [1, 64]  # the resumed attempt has those of the first
    assert all(report["seconds_per_image_1"] > 0 for report in reports)
    assert len({report["seconds_per_image_64"] for report in reports}) == 1
    assert [report["val_loss"] for report in reports[-3:]] == [report["val_loss"] for report in undisturbed]


def test_checkpoint_identity_of_earlier_versions_holds() -> None:
    learning_rate = {"learning_rate": {"float": [1e-4, 1e-1]}}
    training = {"architecture": "vazquez_base"}
    first = parse_spec({"study": "s", "dataset": {"name": "digits"}, "training": training, "space": learning_rate})
    made = identity(first, Path("digits-0123"), {"learning_rate": 0.01}, 7)
    assert made == "f52006bb6e76305d5153b67f5812346f"  # before there was class balance
    training |= {"sampling": "balanced"}
    other = parse_spec({"study": "s", "dataset": {"name": "digits"}, "training": training, "space": learning_rate})
    assert identity(other, Path("digits-0123"), {"learning_rate": 0.01}, 7) != made


def test_run_trial_measures_classes_on_request(run: Run) -> None:
    asked = SPEC.model_copy(update={"classes": ["validation", "test"], "predictions": ["test"]})
    *earlier, last = run(asked)
    assert not any("classes" in report for report in earlier)
    assert {*last["classes"]} == {"validation", "test"}
    for kind, accuracy in (("validation", last["val_accuracy"]), ("test", last["test_accuracy"])):
        columns = last["classes"][kind]
        assert list(columns) == [*COLUMNS["classes"]][5:]
        assert columns["class"] == list(range(10))
        assert columns["name"] == [str(number) for number in range(10)]
        right = sum(recall * count for recall, count in zip(columns["recall"], columns["support"], strict=True))
        assert right / sum(columns["support"]) == pytest.approx(accuracy)
    assert list(last["predictions"]) == ["test"]


def test_run_trial_trains_its_recipe(dataset: Path, undisturbed: list[dict[str, Any]]) -> None:
    on_device = device_data(dataset, SPEC.dataset, "cpu")
    plain = train(SPEC.training_config(PARAMETERS), on_device, seed=1)
    assert len(on_device.train) == STEPS * 64
    for result, report in zip(plain, undisturbed, strict=True):
        assert {key: report[key] for key in asdict(result) if key not in CLOCK}.items() <= asdict(result).items()
    assert (undisturbed[-1]["test_loss"], undisturbed[-1]["test_accuracy"]) == plain.evaluate(plain.data.test)


def test_run_trial_starts_at_the_first_report(tmp_path: Path) -> None:
    run_trial(SPEC, str(tmp_path), tmp_path / "nowhere", 0, PARAMETERS, 1)


# --- going on -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("save_at_every_step")
@pytest.mark.parametrize(
    ("calls", "epochs"),
    [(1, 0), (5, 0), (6, 1), (8, 1), (12, 2), (17, 2)],
    ids=["first-step", "last-step", "end-of-epoch", "mid-epoch", "end-of-second", "last-step-of-all"],
)
def test_run_trial_resumes_bit_for_bit(
    calls: int,
    epochs: int,
    tmp_path: Path,
    run: Run,
    undisturbed: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = kill_after(calls, run(), monkeypatch)
    kept = torch.load(checkpoint(tmp_path), weights_only=True)
    assert kept["training"]["epoch"] * (STEPS + 1) + kept["training"]["step"] == calls
    after = list(run())
    assert numbers(iter(after)) == undisturbed
    assert [report["epoch"] for report in after if report.get("replayed")] == list(range(1, epochs + 1))
    assert [{**report, "replayed": True} for report in before] == after[: len(before)]  # clocks included
    assert after[-1]["train_seconds"] > after[0]["train_seconds"]


def test_run_trial_without_checkpoint_starts_over(
    tmp_path: Path,
    run: Run,
    undisturbed: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tuner.training.checkpoint.CHECKPOINT_SECONDS", float(PATIENCE))
    kill_after(8, run(), monkeypatch)
    assert not checkpoint(tmp_path).exists()  # because none was due yet
    after = list(run())
    assert numbers(iter(after)) == undisturbed
    assert not any("replayed" in report for report in after)


def test_run_trial_retrains_since_the_checkpoint(
    tmp_path: Path,
    run: Run,
    undisturbed: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SHARE", 1e-9)
    assert len(kill_after(15, run(), monkeypatch)) == 2
    assert torch.load(checkpoint(tmp_path), weights_only=True)["training"]["step"] == 1
    after = list(run())
    assert numbers(iter(after)) == undisturbed
    assert not any("replayed" in report for report in after)


@pytest.mark.usefixtures("save_at_every_step")
def test_resumed_rows_tell_how_they_were_computed(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    kill_after(8, run(), monkeypatch)
    kept = torch.load(checkpoint(tmp_path), weights_only=True)
    kept["training"]["precision"]["bfloat16"] = True  # as a GPU would have left it
    torch.save(kept, checkpoint(tmp_path))
    reports = list(run())
    assert [report["device"] for report in reports] == ["cpu", "cpu bf16", "cpu bf16"]


@pytest.mark.slow
@pytest.mark.usefixtures("save_at_every_step")
def test_run_trial_ignores_another_trainings_checkpoint(
    tmp_path: Path,
    dataset: Path,
    run: Run,
    undisturbed: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    others = shutil.copytree(dataset, tmp_path / "other-images")
    larger = SPEC.model_copy(update={"dataset": SPEC.dataset.model_copy(update={"pixels": "raw"})})
    for other in ({"seed": 2}, {"dropout": 0.1}, {"images": others}, {"spec": larger}):
        kill_after(8, run(**other), monkeypatch)
        with pytest.warns(UserWarning, match=r"latest\.pt cannot be used, starting over: it is of another config"):
            after = list(run())
        assert numbers(iter(after)) == undisturbed
        assert not any("replayed" in report for report in after)
        checkpoint(tmp_path).unlink()


def flip_a_bit(content: bytes) -> bytes:
    changed = bytearray(content)
    changed[content.index(b"data/0") + 3000] ^= 1  # among the weights
    return bytes(changed)


@pytest.mark.usefixtures("save_at_every_step")
@pytest.mark.parametrize(
    "damage",
    [lambda _: b"", lambda content: content[:-100], flip_a_bit, lambda _: b"no checkpoint" * 999],
    ids=["empty", "truncated", "flipped-bit", "another-file"],
)
def test_run_trial_survives_a_broken_checkpoint(
    damage: Callable[[bytes], bytes],
    tmp_path: Path,
    run: Run,
    undisturbed: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kill_after(8, run(), monkeypatch)
    file = checkpoint(tmp_path)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.warns(UserWarning, match=r"latest\.pt cannot be used, starting over: [^\n]+$"):
        after = list(run())
    assert numbers(iter(after)) == undisturbed
    assert not any("replayed" in report for report in after)


@pytest.mark.usefixtures("save_at_every_step")
@pytest.mark.parametrize("missing", ["optimizer", "epoch", "model"])
def test_run_trial_undoes_a_partial_resume(
    missing: str,
    tmp_path: Path,
    run: Run,
    undisturbed: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kill_after(8, run(), monkeypatch)
    kept = torch.load(checkpoint(tmp_path), weights_only=True)
    if missing == "model":
        kept["training"]["model"].popitem()
    else:
        del kept["training"][missing]
    torch.save(kept, checkpoint(tmp_path))
    with pytest.warns(UserWarning, match="starting over"):
        assert numbers(run()) == undisturbed


# --- what is left behind ------------------------------------------------------------------------------------------


def test_run_trial_writes_the_tested_weights(tmp_path: Path, dataset: Path, run: Run) -> None:
    last = list(run())[-1]
    weights = torch.load(tmp_path / StudyFolder(tmp_path).weights(4), weights_only=True)
    images = device_data(dataset, SPEC.dataset, "cpu")
    config = SPEC.training_config(PARAMETERS)
    model = models.build("vazquez_base", in_channels=1, classes=10, image_size=8, **config.hyperparameters)
    model.load_state_dict(weights)
    with torch.inference_mode():
        logits = model.eval()(images.normalize(images.test.images))
    assert (logits.argmax(dim=1) == images.test.labels).double().mean().item() == last["test_accuracy"]


def test_run_trial_writes_no_unwanted_weights(tmp_path: Path, run: Run) -> None:
    list(run(SPEC.model_copy(update={"keep_weights": 0})))
    assert list(tmp_path.rglob("*.pt")) == []


@pytest.mark.slow
def test_run_trial_frees_its_memory(run: Run) -> None:
    """The next trial of the worker needs the memory at once."""

    def trainings() -> int:
        return sum(type(thing) is Trainer for thing in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = trainings()
        list(run())
        assert trainings() == before
        stopped = run()
        next(stopped)
        assert trainings() == before + 1
        del stopped
        assert trainings() == before
    finally:
        gc.enable()


# --- what ends an attempt -----------------------------------------------------------------------------------------


def test_run_trial_ends_on_nan_loss(
    run: Run,
) -> None:
    with pytest.raises(NotFiniteError, match=r"loss is (nan|inf)"):
        list(run(learning_rate=1e20))


def test_run_trial_raises_user_errors(tmp_path: Path, dataset: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_CACHE", str(dataset.parents[1]))
    with pytest.raises(DataError, match=r"^[^\n]+$"):
        list(run(images=tmp_path / "no-images"))
    lonely = {"architecture": "rubio_small", "batch_size": 1, "epochs": 1}
    spec = parse_spec({"study": "lonely", "dataset": SPEC.to_dict()["dataset"], "training": lonely, "space": {}})
    with pytest.raises(SpecError, match=r"^batch_size: rubio_small [^\n]+$"):
        next(run_trial(spec, str(tmp_path), dataset, 0, {}, 1))
