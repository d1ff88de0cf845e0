"""A discrete-event simulation of asynchronous workers that replay recorded trainings."""

import heapq
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import pandas as pd

from benchmarks.quality.tasks import Curve, Task
from tuner.search.samplers import derive_trial_seed

Verdict = Literal["go", "stop", "wait"]
"""What becomes of a trial after an epoch. One that waits leaves its worker."""


class Started(NamedTuple):
    """A trial that a search hands to a worker, for the first time or after a wait."""

    number: int
    parameters: dict[str, Any]


class Search(Protocol):
    """A search that the simulation asks for trials and tells their epochs."""

    def suggest(self) -> Started | None:
        """Return the next trial, None if nothing may start now."""

    def report(self, number: int, result: dict[str, Any]) -> Verdict:
        """Report an epoch and return the verdict. The last planned epoch ends a trial."""


@dataclass
class _Training:
    """A trial's recorded training and how far it has come."""

    configuration: int
    curve: Curve
    planned: int
    epoch: int = 0


@dataclass
class Trace:
    """Every epoch of a simulated study, in the order of time."""

    rows: list[tuple[float, int, int, int, float, bool]] = field(default_factory=list)

    def table(self) -> pd.DataFrame:
        """Return one row per epoch; `used` counts the epochs of all trials together."""
        names = ["seconds", "number", "configuration", "epoch", "value", "complete"]
        table = pd.DataFrame(self.rows, columns=names)
        return table.assign(used=np.arange(1, len(table) + 1))


class Workers:
    """Workers that train one trial each, epoch by epoch, as long as each epoch took."""

    def __init__(self, task: Task, search: Search, workers: int, seed: int) -> None:
        self._task, self._search, self._seed = task, search, seed
        self._idle = workers
        self._clock = 0.0
        self._order = 0
        self._events: list[tuple[float, int, int]] = []
        self._trainings: dict[int, _Training] = {}
        self.trace = Trace()

    def run(self, epochs: int) -> Trace:
        """Train until so many epochs and as much time as they take on average have passed."""
        seconds = epoch_seconds(self._task, epochs, self._idle)
        self._fill()
        while self._events and (len(self.trace.rows) < epochs or self._clock < seconds):
            self._step()
        return self.trace

    def _fill(self) -> None:
        while self._idle and (started := self._search.suggest()):
            if started.number not in self._trainings:
                self._trainings[started.number] = self._begin(started)
            self._idle -= 1
            self._schedule(started.number)

    def _begin(self, started: Started) -> _Training:
        """Choose the nearest configuration, and one of its seeds by the trial's number."""
        configuration = self._task.nearest(started.parameters)
        curves = self._task.curves[configuration]
        chosen = derive_trial_seed(self._seed, "recorded", started.number) % len(curves)
        curve = curves[chosen]
        planned = min(int(started.parameters.get("epochs", len(curve.values))), len(curve.values))
        return _Training(configuration, curve, planned)

    def _schedule(self, number: int) -> None:
        training = self._trainings[number]
        end = self._clock + float(training.curve.seconds[training.epoch])
        heapq.heappush(self._events, (end, self._order, number))
        self._order += 1

    def _step(self) -> None:
        self._clock, _, number = heapq.heappop(self._events)
        training = self._trainings[number]
        value = float(training.curve.values[training.epoch])
        training.epoch += 1
        ends = training.epoch == training.planned
        row = (self._clock, number, training.configuration, training.epoch, value, ends)
        self.trace.rows.append(row)
        result = self._result(training, value)
        if self._search.report(number, result) == "go" and not ends:
            self._schedule(number)
        else:
            self._idle += 1
        self._fill()

    def _result(self, training: _Training, value: float) -> dict[str, Any]:
        """Return an epoch's result with the keys of the training loop and of Ray."""
        return {
            "epoch": training.epoch,
            "training_iteration": training.epoch,
            "epochs_planned": training.planned,
            self._task.metric: value,
            "seconds": float(training.curve.seconds[training.epoch - 1]),
            "done": training.epoch == training.planned,
        }


def epoch_seconds(task: Task, epochs: int, workers: int) -> float:
    """Return the simulated time in which the workers train so many mean epochs."""
    return epochs * task.mean_seconds / workers


def regret_at(task: Task, trace: pd.DataFrame, limit: float, unit: str, chosen: str) -> float:
    """Return the regret of the configuration that a study would choose at a limit.

    Args:
        task: What was searched.
        trace: One row per epoch.
        limit: Epochs of all trials together, or simulated seconds.
        unit: Column of the trace that the limit bounds, used or seconds.
        chosen: reported to choose by the last value of any trial, complete by completed trials only.
            Without a completed trial the regret is that of the median configuration.
    """
    seen = trace[trace[unit] <= limit]
    last = seen[seen["complete"]] if chosen == "complete" else seen.groupby("number").tail(1)
    if last.empty:
        return 1.0
    best = (task.sign * last["value"]).idxmax()
    return float(task.regrets[int(last.loc[best, "configuration"])])
