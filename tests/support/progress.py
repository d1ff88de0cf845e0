"""Trials that run by a clock of their own, for the progress and the displays of a study."""

from typing import Any

from tuner.cli.live import PlainDisplay
from tuner.config.study import StudyConfig, parse_spec
from tuner.study.observer import Row
from tuner.study.progress import Progress


class Clock:
    """A clock that moves only when a test moves it."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def study(**changes: Any) -> StudyConfig:
    return parse_spec(
        {
            "study": "demo",
            "training": {"architecture": "vazquez_base"},
            "space": {
                "learning_rate": {"float": [1e-4, 1e-1], "log": True},
                "batch_size": {"choice": [32, 64]},
                "dense": {"int": [32, 256]},
                "dropout": {"float": [0.0, 0.5]},
            },
            "search": {"trials": 10},
            **changes,
        }
    )


def trial(number: int, **cells: Any) -> Row:
    """Return the row of a trial that Ray has received."""
    return {
        "number": number,
        "attempt": 1,
        "state": "RUNNING",
        "purpose": "search",
        "epochs_planned": 10,
        "param_learning_rate": 0.0123456789,
        "param_batch_size": 64,
        "param_dense": 128,
        "param_dropout": 0.25,
        **cells,
    }


def begin(standing: Progress | PlainDisplay, row: Row) -> Row:
    if isinstance(standing, Progress):
        standing.started(row)
        standing.taken_up(row)
    else:
        standing.trial_started(row)
        standing.attempt_started(row)
    return row


def epoch(standing: Progress | PlainDisplay, row: Row, clock: Clock, seconds: float = 2.0, value: float = 0.5) -> None:
    """Let an epoch pass and report it."""
    clock.now += seconds
    row.update(epochs_run=row.get("epochs_run", 0) + 1, seconds=row.get("seconds", 0.0) + seconds, value=value)
    if isinstance(standing, Progress):
        standing.reported(row, {})
    else:
        standing.epoch_reported(row, {})


def end(standing: Progress | PlainDisplay, row: Row, state: str = "COMPLETE", **cells: Any) -> None:
    row.update(state=state, **cells)
    if isinstance(standing, Progress):
        standing.ended(row)
    else:
        standing.trial_ended(row)
