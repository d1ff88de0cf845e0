"""What Ray Tune tells of its trials becomes rows: the one place that writes the tables of a running study."""

import socket
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from ray import cloudpickle, tune
from ray.exceptions import RayTaskError
from ray.tune.experiment import Trial

from tuner.config.code_hash import hash_network
from tuner.config.study import StudyConfig
from tuner.errors import StudyError, type_and_line
from tuner.results.folder import StudyFolder
from tuner.results.schema import EPOCH_COLUMNS, is_search, outcome, parameters_to_row
from tuner.results.tables import Tables, now
from tuner.search.proposals import Proposal
from tuner.study.observer import Observer, Row

FLUSH_SECONDS = 2.0
"""Epochs reach the disk at least so often."""
RETRY_SECONDS = 5.0
"""What could not be written is tried again after so long."""
PATIENCE_SECONDS = 600.0
"""At its end a study waits at most so long until what it has to write is taken."""

_LATEST = ("val_accuracy", "val_loss", "test_accuracy", "test_loss", "train_seconds", "parameters_count", "device")


class Recorder(tune.Callback):
    """Turns the course of every trial into rows.

    A trial's RUNNING row is on disk before its worker starts; rows are written in the order epochs, decisions, trials;
    a trial is finished when its row says so. Trials that a halt interrupts stay RUNNING, and so do those
    that end with Ray.

    While rows cannot be written, because a disk is full or an object store does not answer, they wait in memory and the
    study goes on; a driver that is killed then loses them, and its trials are trained again.

    Args:
        spec: The study.
        folder: Its folder.
        tables: Its tables.
        observer: Who watches.
        halted: Whether the study is being interrupted.
        lost: Whether Ray itself is lost; what trials die of then is no failure of theirs.
        sampler_attrs: What the sampler keeps about a trial.
    """

    def __init__(
        self,
        spec: StudyConfig,
        folder: StudyFolder,
        tables: Tables,
        observer: Observer,
        *,
        halted: Callable[[], bool],
        lost: Callable[[], bool],
        sampler_attrs: Callable[[int], str],
    ) -> None:
        self._spec, self._folder, self._tables, self._observer = spec, folder, tables, observer
        self._halted, self._lost, self._sampler_attrs = halted, lost, sampler_attrs
        history = tables.history("trials")
        self._attempts: dict[int, int] = {}
        for number, attempt in zip(history["number"], history["attempt"], strict=True):
            self._attempts[number] = max(attempt, self._attempts.get(number, 0))
        self._earlier_failures = Counter(int(number) for number in history.loc[history["state"] == "FAILED", "number"])
        trials, epochs = tables.trials(), tables.epochs().query("epoch > 0")
        self._epochs: dict[int, dict[int, Row]] = {}  # of running trials, in the order of their reports
        running = trials.loc[trials["state"] == "RUNNING", "number"]
        for epoch in epochs[epochs["number"].isin(running)].to_dict("records"):
            report = {str(key): cell for key, cell in epoch.items()}
            self._epochs.setdefault(report["number"], {})[report["epoch"]] = report
        self._rows: dict[int, Row] = {}
        self._deferred: list[Callable[[], None]] = []
        self._retry_at: float | None = None
        self._sign = spec.objective[0].sign
        self._code = {name: hash_network(name) for name in spec.architectures}
        self._best: list[tuple[float, int]] = []  # those that keep their weights, and the next one
        complete = trials[is_search(trials) & (trials["state"] == "COMPLETE")]
        self._rank(zip(-self._sign * complete["value"], complete["number"], strict=True))

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its callbacks and we never read that: the tables are the truth."""
        return {}

    def propose(self, proposal: Proposal) -> None:
        """Write a trial's RUNNING row; called before Ray hears of the trial."""
        self._attempts[proposal.number] = self._attempts.get(proposal.number, 0) + 1
        row = self.open_row(proposal)
        self._write(row)
        self._observer.trial_started(row)

    def open_row(self, proposal: Proposal) -> Row:
        """A trial's row, as far as its earlier attempts brought it."""
        number, recipe = proposal.number, self._spec.training_config(proposal.parameters)
        row = {
            "study": self._spec.study,
            "number": number,
            "attempt": self._attempts[number],
            "state": "RUNNING",
            "epochs_planned": recipe.epochs,
            "seed": proposal.seed,
            "protocol": self._spec.protocol,
            "purpose": proposal.purpose,
            "repeat_of": proposal.repeat_of,
            "origin": proposal.origin,
            "sampler_attrs": self._sampler_attrs(number),
            "code": self._code[recipe.architecture],
            "started_at": now(),
            **parameters_to_row(self._spec.space, proposal.parameters),
        }
        self._rows[number] = row
        for epoch in self._epochs.setdefault(number, {}).values():
            self.apply_report(row, epoch)
        return row

    def decide(self, decision: Row) -> None:
        """Remember a verdict of the scheduler."""
        number = decision["number"]
        attempt = self._attempts[number]
        self._tables.append("decisions", {"study": self._spec.study, "attempt": attempt, "at": now(), **decision})

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:  # noqa: ARG002
        """A worker takes up a trial: leave it the retries that earlier runs of the study have not used up."""
        number = trial.config["number"]
        trial.max_failures = max(0, self._spec.retries - self._earlier_failures[number])
        self._observer.attempt_started(self._rows[number])

    def on_trial_result(
        self,
        iteration: int,  # noqa: ARG002
        trials: list[Trial],  # noqa: ARG002
        trial: Trial,
        result: Mapping[str, Any],
        **info: Any,  # noqa: ARG002
    ) -> None:
        """A report becomes a row of `epochs`; one that a resumed trial repeats is passed over."""
        number = trial.config["number"]
        row, known = self._rows[number], self._epochs[number]
        row["node"] = result.get("hostname")
        if error := result.get("error"):
            row["error"] = error
            return
        if not (result.get("replayed") and result["epoch"] in known):
            report = {name: result.get(name) for name in EPOCH_COLUMNS}
            self._append_measured(row, report, result)
            known.pop(result["epoch"], None)
            known[result["epoch"]] = report
        self.apply_report(row, result)
        self._observer.epoch_reported(row)

    def _append_measured(self, row: Row, report: Row, result: Mapping[str, Any]) -> None:
        """Rows of what a report measured: its epoch, and what a study may ask for beside it."""
        attempt = {name: row[name] for name in ("study", "number", "attempt")}
        if untrained := result.get("untrained"):
            count = {"epoch": 0, "parameters_count": result["parameters_count"]}
            self._tables.append("epochs", {**attempt, **count, **untrained, "at": now()})
        self._tables.append("epochs", {**attempt, **report, "at": now()})
        for line in result.get("steps", ()):
            self._tables.append("steps", {**attempt, "epoch": report["epoch"], **line})
        for split, columns in result.get("predictions", {}).items():
            for cells in zip(*columns.values(), strict=True):
                self._tables.append(
                    "predictions", {**attempt, "split": split, **dict(zip(columns, cells, strict=True))}
                )

    def apply_report(self, row: Row, report: Mapping[str, Any]) -> None:
        """Bring a trial's row up to an epoch; `value` is always the last epoch's."""
        row.update({name: report[name] for name in _LATEST if report.get(name) is not None})
        row["epochs_run"] = report["epoch"]
        row["seconds"] = sum(epoch["seconds"] for epoch in self._epochs[row["number"]].values())
        objectives = self._spec.objective
        if all(report.get(objective.metric) is not None for objective in objectives):
            values = [float(report[objective.metric]) for objective in objectives]
            row["value"], row["values"] = values[0], values
            row["best_epoch"] = self._best_epoch(row["number"]) or report["epoch"]

    def _best_epoch(self, number: int) -> int | None:
        """The epoch with the best value of the first objective, the earliest of equals."""
        metric = self._spec.objective[0].metric
        measured = [(epoch.get(metric), at) for at, epoch in self._epochs[number].items()]
        ranked = ((-self._sign * value, at) for value, at in measured if value is not None)
        return min(ranked, default=(0.0, None))[1]

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:  # noqa: ARG002
        """Write how a trial ended: complete, pruned, or with an error that it reported itself."""
        if not self._halted():
            self.end(trial.config["number"], outcome(trial.last_result))

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:  # noqa: ARG002
        """A crash, and no retry is left."""
        if self._lost():
            return
        number = trial.config["number"]
        self._rows[number]["error"] = self._explain(trial)
        self.end(number, "FAILED")

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:  # noqa: ARG002
        """A crash, and the trial is tried again: this attempt FAILED and the next one RUNNING, in one part."""
        if self._lost():
            return
        number = trial.config["number"]
        row = self._rows[number]
        failed = {**row, "state": "FAILED", "error": self._explain(trial), "updated_at": now()}
        self._attempts[number] += 1
        row.update(attempt=self._attempts[number], updated_at=now())
        self._tables.append("trials", failed)
        self._tables.append("trials", dict(row))
        self._flush()
        self._observer.trial_ended(failed)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:  # noqa: ARG002
        """Called several times a second."""
        self._flush(if_older_than=FLUSH_SECONDS)
        if self._halted():
            self._observer.halting()

    def end(self, number: int, state: str) -> None:
        """Write a trial's last row, and let go of what only a running trial needs."""
        row = self._rows[number]
        row["state"] = state
        row["sampler_attrs"] = self._sampler_attrs(number)
        self._write(row)
        self._deferred.append(partial(self._folder.storage.remove, self._folder.checkpoint(number)))
        if state == "COMPLETE" and is_search(row):
            self._rank([(-self._sign * row["value"], number)])
        self._keep_the_best_weights(number)
        self._flush()
        del self._rows[number], self._epochs[number]
        self._observer.trial_ended(row)

    def _keep_the_best_weights(self, newest: int) -> None:
        ranked = [number for _, number in self._best]
        for number in {newest, *ranked[self._spec.keep_weights :]}:
            if number not in ranked[: self._spec.keep_weights]:
                self._deferred.append(partial(self._folder.storage.remove, self._folder.weights(number)))

    def _rank(self, completed: Iterable[tuple[float, int]]) -> None:
        """Take completed trials, each as (how bad, number), among the best."""
        self._best = sorted([*self._best, *completed])[: self._spec.keep_weights + 1]

    def _write(self, row: Row) -> None:
        row["updated_at"] = now()
        self._tables.append("trials", dict(row))
        self._flush()

    def _flush(self, if_older_than: float = 0.0) -> None:
        """Write what waits, or let it wait on."""
        if self._retry_at is not None and time.monotonic() < self._retry_at:
            return
        try:
            self._write_waiting(if_older_than if self._retry_at is None else 0.0)
            self._retry_at = None
        except OSError as error:
            if self._retry_at is None:
                warnings.warn(f"{error}; rows wait, and are written once that is over", stacklevel=2)
            self._retry_at = time.monotonic() + RETRY_SECONDS

    def _write_waiting(self, if_older_than: float = 0.0) -> None:
        """Write the rows, then do what follows from them; what fails is left for another time."""
        self._tables.flush(if_older_than)
        while self._deferred:
            self._deferred[0]()
            del self._deferred[0]

    def flush_all(self) -> None:
        """Write everything that waits; a StudyError where that is not possible for `PATIENCE_SECONDS`."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return self._write_waiting()
            except OSError as error:
                if time.monotonic() > deadline:
                    lost = (
                        f"{self._folder}: the last rows could not be written and are lost: {error}; "
                        "the same command goes on from what was written"
                    )
                    raise StudyError(lost) from error
            time.sleep(RETRY_SECONDS)

    def trials(self) -> pd.DataFrame:
        """The trials table with every row so far."""
        self.flush_all()
        return self._tables.trials()

    def _explain(self, trial: Trial) -> str:
        """One line for the tables, and the whole traceback in a log beside them."""
        number = trial.config["number"]
        row, error = self._rows[number], _error_of(trial)
        cause = error.cause if isinstance(error, RayTaskError) else error
        log = self._folder.log(number, row["attempt"])
        self._deferred.append(partial(self._folder.storage.write, log, str(error).encode()))
        node = row.get("node") or socket.gethostname()
        return f"{type_and_line(cause)} (node {node}, log {log})"


def _error_of(trial: Trial) -> Exception:
    """What Tune has just written down of a trial's crash, in this process's own scratch folder."""
    if trial.pickled_error_file and Path(trial.pickled_error_file).exists():
        error: Exception = cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
        return error
    return RuntimeError("the worker was lost")
