"""The watchdog ends real trials that hang, and spares slow ones."""

import os
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tests.support.forked import PROCESSES
from tests.support.image_files import write_folder
from tuner.config.dataset import DatasetConfig
from tuner.config.study import parse_spec
from tuner.data import decoding, load, progress
from tuner.training import checkpoint, evaluation, watchdog
from tuner.training.run_trial import run_trial

STUDY = {
    "study": "watched",
    "dataset": {"name": "digits", "train": 320, "validation": 64},
    "training": {"architecture": "vazquez_base", "epochs": 2, "batch_size": 64},
    "space": {},
    "log_every": 5,
    "predictions": ["validation", "test"],
}
LATE = 0.01
"""Seconds without a beat after which a trial that hangs is ended."""


def reports(results: Path, entry: Path, **changes: Any) -> Iterator[dict[str, Any]]:
    """Start a trial."""
    return run_trial(parse_spec(STUDY | changes), str(results), entry, 0, {}, 1)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trials")


@pytest.fixture(scope="module")
def digits(scratch: Path) -> Path:
    """The cache entry of the digits."""
    return load(parse_spec(STUDY).dataset, cache=scratch / "cache").folder


@pytest.fixture(scope="module")
def images(scratch: Path) -> tuple[Path, Path]:
    """A folder of images, and its cache entry on another machine."""
    write_folder(scratch / "images", "train", ["a", "b"], 20, 12, 12)
    entry = load(DatasetConfig(name=str(scratch / "images")), cache=scratch / "cache").folder
    return scratch / "images", Path("elsewhere") / entry.name


# --- slow trials --------------------------------------------------------------------------------------------------


class Watch:
    """A clock that tests set, and a timer that runs by it."""

    def __init__(self) -> None:
        self.now = 0.0
        self._ends_at = float("inf")

    def monotonic(self) -> float:
        return self.now

    def dump_traceback_later(self, seconds: float, **_: object) -> None:
        self._ends_at = self.now + seconds

    def cancel_dump_traceback_later(self) -> None:
        self._ends_at = float("inf")

    def move_on(self, share: float) -> None:
        """Let a share of the watchdog's seconds pass."""
        self.now += share * watchdog.HANG_SECONDS
        assert self.now < self._ends_at, "the watchdog ended the trial"

    def slow(self, function: Callable[..., Any], share: float) -> Callable[..., Any]:
        """Let each call of a function take a share of the watchdog's seconds."""

        def slowly(*arguments: Any, **keywords: Any) -> Any:
            self.move_on(share)
            return function(*arguments, **keywords)

        return slowly


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    watch = Watch()
    monkeypatch.setattr(watchdog, "time", watch)
    monkeypatch.setattr(watchdog, "faulthandler", watch)
    monkeypatch.setattr(progress, "listener", progress.listener)  # because a trial sets it
    return watch


def test_watchdog_spares_slow_steps(
    watch: Watch, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = watch.slow(checkpoint.Checkpointer.save_if_due, 0.25)
    monkeypatch.setattr(checkpoint.Checkpointer, "save_if_due", save)
    trial = reports(tmp_path, digits)
    next(trial)
    watch.move_on(1.5)  # because nothing is watched between two reports
    assert next(trial)["done"]
    assert watch.now > 3 * watchdog.HANG_SECONDS


def test_watchdog_spares_slow_evaluation(
    watch: Watch, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = evaluation.BatchPreparer.prepare

    def prepare_slowly(*arguments: Any, **keywords: Any) -> Any:
        if keywords["purpose"] == "evaluation":
            watch.move_on(0.15)
        return prepare(*arguments, **keywords)

    monkeypatch.setattr(evaluation, "EVALUATION_BATCH", {"cpu": 8})
    monkeypatch.setattr(evaluation.BatchPreparer, "prepare", prepare_slowly)
    assert next(reports(tmp_path, digits))["epoch"] == 1
    assert watch.now > watchdog.HANG_SECONDS


def test_watchdog_spares_slow_decoding(
    watch: Watch, images: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, entry = images
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(decoding, "decode", watch.slow(decoding.decode, 0.05))
    dataset = {"name": str(folder), "validation": 8}
    assert next(reports(tmp_path, entry, dataset=dataset, log_every=None))["epoch"] == 1
    assert watch.now > watchdog.HANG_SECONDS


def test_watchdog_spares_waiting_for_a_lock(watch: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = FileLock(tmp_path / "lock")
    report = progress.report

    def report_late() -> None:
        watch.move_on(0.3)
        if watch.now > 2 * watchdog.HANG_SECONDS:
            held.release()
        report()

    @watchdog.watched
    def wait() -> Iterator[dict[str, Any]]:
        with progress.locked(tmp_path / "lock"):
            yield {"done": True}

    monkeypatch.setattr(progress, "REPORT_SECONDS", 0.01)
    monkeypatch.setattr(progress, "report", report_late)
    held.acquire()
    assert list(wait()) == [{"done": True}]
    assert watch.now > 2 * watchdog.HANG_SECONDS


# --- trials that hang ---------------------------------------------------------------------------------------------


def beat_for_the_last_time() -> None:
    """Beat, and let the watchdog be in a hurry from now on."""
    watchdog.HANG_SECONDS = LATE
    time.sleep(LATE)  # because a beat just after another is none
    watchdog.beat()


def hanging(function: Callable[..., Any], calls: int) -> Callable[..., Any]:
    """Let a function hang from its n-th call on."""
    count = 0

    def paused(*arguments: Any, **keywords: Any) -> Any:
        nonlocal count
        count += 1
        if count == calls:
            beat_for_the_last_time()
            time.sleep(600)
        return function(*arguments, **keywords)

    return paused


def hang_in_step() -> None:
    checkpoint.Checkpointer.save_if_due = hanging(checkpoint.Checkpointer.save_if_due, 7)  # type: ignore[method-assign]


def hang_in_evaluation() -> None:
    evaluation.BatchPreparer.prepare = hanging(evaluation.BatchPreparer.prepare, 6)  # type: ignore[method-assign]


def hang_in_decoding() -> None:
    report = progress.report

    def report_and_watch(reading: object = None) -> None:
        report(reading)
        if str(reading).endswith("b/0.png"):
            beat_for_the_last_time()

    progress.report = report_and_watch


def train_hanging(hang: Callable[[], None], said: Path, cache: Path, *trial: Any, **changes: Any) -> None:
    """Run a trial in a process that writes its errors to a file."""
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT), 2)
    os.environ["TUNER_CACHE"] = str(cache)
    hang()
    list(reports(*trial, **changes))


@pytest.fixture
def ended(tmp_path: Path) -> Iterator[Callable[..., tuple[int | None, str]]]:
    """Run a trial that hangs. Gives its exit code and errors."""
    started: list[ForkServerProcess] = []

    def run(hang: Callable[[], None], entry: Path, **changes: Any) -> tuple[int | None, str]:
        said = tmp_path / "said"
        arguments = (hang, said, tmp_path / "cache", tmp_path, entry)
        process = PROCESSES.Process(target=train_hanging, args=arguments, kwargs=changes)
        process.start()
        started.append(process)
        process.join()
        return process.exitcode, said.read_text()

    yield run
    for process in started:
        process.kill()


@pytest.mark.parametrize(("hang", "place"), [(hang_in_step, "paused"), (hang_in_evaluation, "logits")])
@pytest.mark.slow
def test_watchdog_ends_a_hanging_trial(hang: Callable[[], None], place: str, ended: Any, digits: Path) -> None:
    exitcode, stacks = ended(hang, digits)
    assert exitcode == 1
    assert "Timeout" in stacks
    assert place in stacks


@pytest.mark.slow
def test_watchdog_ends_a_hanging_decoding(ended: Any, images: tuple[Path, Path], tmp_path: Path) -> None:
    _, entry = images
    write_folder(tmp_path / "pipes", "train", ["a", "b"], 20, 12, 12)
    (tmp_path / "pipes" / "train" / "b" / "0.png").unlink()
    os.mkfifo(tmp_path / "pipes" / "train" / "b" / "0.png")  # reading it never ends
    exitcode, stacks = ended(hang_in_decoding, entry, dataset={"name": str(tmp_path / "pipes")})
    assert exitcode == 1
    assert "Timeout" in stacks
    assert "fingerprint" in stacks
