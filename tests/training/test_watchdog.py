"""The watchdog ends real trials that hang, and spares slow ones."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.image_files import write_folder
from tests.support.waiting import PATIENCE
from tuner.config.dataset import DatasetConfig
from tuner.config.study import parse_spec
from tuner.data import load

ROOT = Path(__file__).parents[2]
HANG_SECONDS = 6.0
STUDY = {
    "study": "watched",
    "dataset": {"name": "digits", "train": 320, "validation": 64},
    "training": {"architecture": "vazquez_base", "epochs": 2, "batch_size": 64},
    "space": {},
    "log_every": 5,
    "predictions": ["validation", "test"],
}
TRIAL = """
import subprocess, sys, time
from pathlib import Path
from tests.training.test_watchdog import HANG_SECONDS, STUDY
from tuner.config.study import parse_spec
from tuner.data import progress
from tuner.data import decoding
from tuner.training import checkpoint, evaluation, watchdog
from tuner.training.run_trial import run_trial

results, digits, dataset, argument = sys.argv[1:]

def go(entry=dataset, **changes):
    return run_trial(parse_spec(STUDY | changes), results, Path(entry), 0, {}, 1)

def pausing(function, seconds, calls=1):
    "Let a function pause from its n-th call on."
    count = 0
    def paused(*arguments, **keywords):
        nonlocal count
        count += 1
        if count >= calls:
            time.sleep(seconds)
        return function(*arguments, **keywords)
    return paused

list(go(digits))  # imports what is imported late
watchdog.HANG_SECONDS = HANG_SECONDS
"""
SLOW_STEPS = """
checkpoint.Checkpointer.save_if_due = pausing(checkpoint.Checkpointer.save_if_due, 0.25 * HANG_SECONDS)
reports = go(study="slow")
next(reports)
time.sleep(1.5 * HANG_SECONDS)
assert next(reports)["done"]
print("done")
"""
SLOW_EVALUATION = """
evaluation.EVALUATION_BATCH = {"cpu": 8}
slow = pausing(lambda: None, 0.15 * HANG_SECONDS)
prepare = evaluation.BatchPreparer.prepare
def prepare_slowly(self, images, **keywords):
    if keywords["purpose"] == "evaluation":
        slow()
    return prepare(self, images, **keywords)
evaluation.BatchPreparer.prepare = prepare_slowly
assert next(go(study="slow"))["epoch"] == 1
print("done")
"""
SLOW_DECODING = """
decoding.decode = pausing(decoding.decode, 0.05 * HANG_SECONDS)
reports = go(study="slow", dataset={"name": argument, "validation": 8}, log_every=None)
assert next(reports)["epoch"] == 1
print("done")
"""
WAITING_FOR_A_LOCK = """
held = f"import filelock, time; lock = filelock.FileLock({argument!r}); lock.acquire()"
held += f"; print('held', flush=True); time.sleep({2 * HANG_SECONDS})"
holder = subprocess.Popen([sys.executable, "-c", held], stdout=subprocess.PIPE)
holder.stdout.readline()

@watchdog.watched
def wait():
    with progress.locked(Path(argument)):
        yield {"done": True}

list(wait())
print("done")
"""
HANGING_STEP = """
checkpoint.Checkpointer.save_if_due = pausing(checkpoint.Checkpointer.save_if_due, 600, calls=7)
list(go(study="hanging"))
"""
HANGING_EVALUATION = """
evaluation.BatchPreparer.prepare = pausing(evaluation.BatchPreparer.prepare, 600, calls=6)
list(go(study="hanging"))
"""
HANGING_DECODING = """
list(go(study="hanging", dataset={"name": argument}))
"""


class Trials:
    """Trials in processes of their own, started together because they mostly sleep."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._digits = load(parse_spec(STUDY).dataset, cache=scratch / "cache").folder
        self._processes: dict[str, subprocess.Popen[str]] = {}

    def start(self, name: str, code: str, argument: object = "", dataset: Path | None = None) -> None:
        arguments = [self._scratch / name, self._digits, dataset or self._digits, argument]
        self._processes[name] = subprocess.Popen(
            [sys.executable, "-c", TRIAL + code, *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, "TUNER_CACHE": str(self._scratch / "empty cache")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait(self, name: str) -> tuple[int, str, str]:
        """Return how a process ended, and what it printed."""
        process = self._processes[name]
        out, err = process.communicate(timeout=PATIENCE)
        return process.returncode, out, err

    def kill(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.communicate()


@pytest.fixture(scope="module", autouse=True)
def trials(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trials]:
    scratch = tmp_path_factory.mktemp("trials")
    images, pipes = scratch / "images", scratch / "pipes"
    for folder in (images, pipes):
        write_folder(folder, "train", ["a", "b"], 20, 12, 12)
    entry = load(DatasetConfig(name=str(images)), cache=scratch / "cache").folder
    (pipes / "train" / "b" / "0.png").unlink()
    os.mkfifo(pipes / "train" / "b" / "0.png")  # reading it never ends
    running = Trials(scratch)
    running.start("slow steps", SLOW_STEPS)
    running.start("slow evaluation", SLOW_EVALUATION)
    running.start("slow decoding", SLOW_DECODING, images, dataset=Path("elsewhere") / entry.name)
    running.start("waiting for a lock", WAITING_FOR_A_LOCK, scratch / "lock")
    running.start("hanging step", HANGING_STEP)
    running.start("hanging evaluation", HANGING_EVALUATION)
    running.start("hanging decoding", HANGING_DECODING, pipes, dataset=Path("elsewhere") / entry.name)
    yield running
    running.kill()


@pytest.mark.parametrize("name", ["slow steps", "slow evaluation", "slow decoding", "waiting for a lock"])
@pytest.mark.slow
def test_watchdog_spares_a_slow_trial(name: str, trials: Trials) -> None:
    assert trials.wait(name) == (0, "done\n", "")


@pytest.mark.parametrize(
    ("name", "hanging_in"),
    [("hanging step", "paused"), ("hanging evaluation", "logits"), ("hanging decoding", "fingerprint")],
)
def test_watchdog_ends_a_hanging_trial(name: str, hanging_in: str, trials: Trials) -> None:
    returncode, _, stacks = trials.wait(name)
    assert returncode == 1
    assert "Timeout" in stacks
    assert hanging_in in stacks
