"""Rows of a running study: the one place that writes its tables."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import pandas as pd
from ray import tune
from ray.tune.experiment import Trial

from tuner.config.code_hash import hash_network
from tuner.config.constraints import describe_outside
from tuner.config.study import StudyConfig
from tuner.results.folder import StudyFolder
from tuner.results.ranking import is_allowed, rank
from tuner.results.schema import EPOCH_COLUMNS, OUTSIDE, State, is_search, outcome
from tuner.results.tables import Tables, now
from tuner.search.proposals import Proposal, proposal_from_row, proposal_to_row
from tuner.search.ray_internals import error_of, worker_of
from tuner.search.schedulers import Scheduler
from tuner.search.searcher import OptunaSearcher
from tuner.study.budget import BudgetMeter
from tuner.study.failures import Failure, describe_failure
from tuner.study.kept_weights import KeptWeights
from tuner.study.observer import Observer, Row
from tuner.study.reports import append_report, apply_report, out_of_time
from tuner.study.restore import Past, restore_scheduler
from tuner.study.retries import Retries
from tuner.study.writer import Writer

FLUSH_SECONDS = 2.0
"""Seconds after which epochs are flushed at the latest."""


class Recorder(tune.Callback):
    """A callback that turns the course of every trial into rows.

    A trial's RUNNING row is on disk before its worker starts. Rows are written in the order epochs,
    decisions, trials, and a trial is finished when its row is. Trials that are interrupted stay
    RUNNING or PAUSED, and so do those that end with Ray.

    Args:
        spec: The study.
        folder: Its folder.
        tables: Its tables.
        past: What earlier runs left in the tables.
        observer: The observer of the study.
        retries: Decides what follows a failed attempt.
        meter: Counts epochs and completed trials for the budget.
        stopping: Returns True if the study is being stopped.
        lost: Returns True if Ray is lost, so that its trials have not failed.

    Attributes:
        searcher: The searcher that proposes the trials. The study sets it.
    """

    searcher: OptunaSearcher

    def __init__(
        self,
        spec: StudyConfig,
        folder: StudyFolder,
        tables: Tables,
        past: Past,
        observer: Observer,
        *,
        retries: Retries,
        meter: BudgetMeter,
        stopping: Callable[[], bool],
        lost: Callable[[], bool],
    ) -> None:
        self._spec, self._folder, self._tables, self._observer = spec, folder, tables, observer
        self._retries, self._meter, self._stopping, self._lost = retries, meter, stopping, lost
        self._writer = Writer(folder, tables)
        self._attempts = past.attempts
        self._epochs = past.reports  # of running trials, in the order of their reports
        self._rows: dict[int, Row] = {}
        self._workers: dict[int, str] = {}
        self._code = {name: hash_network(name) for name in spec.architectures}
        self._weights = KeptWeights(spec)
        complete = rank(spec, past.trials)
        self._weights.rank(zip(complete["value"], complete["number"], strict=True))

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing, because the tables hold all state.

        Tune pickles its callbacks.
        """
        return {}

    def propose(self, proposal: Proposal) -> None:
        """Write a trial's RUNNING row, before Ray receives the trial.

        A retry has its row already, and gets another with the time of its start.
        """
        row = self._rows.get(proposal.number)
        if row is None:
            self.open(proposal)
        elif row["state"] == "PAUSED":
            self._open_again(row, proposal)
        else:
            self._write(row)
        self._meter.began(proposal.number)
        self._observer.trial_started(self._rows[proposal.number])

    def open(self, proposal: Proposal) -> None:
        """Write the RUNNING row of a trial's next attempt."""
        self._attempts[proposal.number] = self._attempts.get(proposal.number, 0) + 1
        self._write(self.open_row(proposal))

    def _open_again(self, row: Row, proposal: Proposal) -> None:
        """Write the RUNNING row of a trial that waited.

        It is the trial's next attempt.
        """
        self._attempts[proposal.number] += 1
        architecture = self._spec.training_config(proposal.parameters).architecture
        row["attempt"], row["state"] = self._attempts[proposal.number], "RUNNING"
        row["code"] = self._code[architecture]
        self._write(row)

    def refuse(self, proposal: Proposal, known: Mapping[str, Any]) -> None:
        """Write a trial that a constraint keeps from training.

        It is PRUNED at once, in one row.
        """
        self._attempts[proposal.number] = 1
        reason = describe_outside(self._spec.constraints, known)
        self.open_row(proposal).update(known, error=reason, error_kind=OUTSIDE)
        self.end([proposal.number], "PRUNED")

    def restore(self, past: Past, scheduler: Scheduler) -> None:
        """Bring the scheduler and its trials to where they were.

        Trials that the scheduler had ended are ended or paused here.
        """
        for row in restore_scheduler(self._spec, past, scheduler):
            self.open_row(proposal_from_row(self._spec, row))
            self.end([int(row["number"])], "PRUNED")
        for row in past.in_flight:
            self._restore_paused(row, waits=row["number"] in scheduler.waiting)

    def _restore_paused(self, row: Row, waits: bool) -> None:
        """Restore a trial that an earlier run let wait.

        A trial that runs is left to the searcher.
        """
        proposal = proposal_from_row(self._spec, row)
        if waits and row["state"] == "PAUSED":
            self._rows[proposal.number] = row
            self._epochs.setdefault(proposal.number, {})
        elif waits:
            self.open_row(proposal)
            self.pause(proposal.number)
        elif row["state"] == "PAUSED":  # because the row that it goes on was lost
            self.open(proposal)

    def open_row(self, proposal: Proposal) -> Row:
        """Make a trial's row, with what its earlier attempts have reported."""
        number, recipe = proposal.number, self._spec.training_config(proposal.parameters)
        row = {
            "study": self._spec.study,
            "attempt": self._attempts[number],
            "state": "RUNNING",
            "epochs_planned": recipe.epochs,
            "protocol": self._spec.protocol,
            "code": self._code[recipe.architecture],
            "started_at": now(),
            **proposal_to_row(self._spec, proposal),
        }
        self._rows[number] = row
        epochs = self._epochs.setdefault(number, {})
        for epoch in epochs.values():
            apply_report(self._spec, row, epoch, epochs)
        return row

    def decide(self, decision: Row) -> None:
        """Record a verdict of the scheduler."""
        context = {"study": self._spec.study, "attempt": self._attempts[decision["number"]]}
        row = {**context, "at": now(), **decision}
        self._writer.append("decisions", row)
        self._observer.trial_judged(row)

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:  # noqa: ARG002
        """Record that a worker begins a trial."""
        number = trial.config["number"]
        self._workers[number] = worker_of(trial)
        self._retries.began(number)
        self.searcher.started(trial.trial_id)
        self._observer.attempt_started(self._rows[number])

    def on_trial_result(
        self,
        iteration: int,  # noqa: ARG002
        trials: list[Trial],  # noqa: ARG002
        trial: Trial,
        result: dict[str, Any],
        **info: Any,  # noqa: ARG002
    ) -> None:
        """Record a report, unless a resumed trial repeats it."""
        number = trial.config["number"]
        row, known = self._rows[number], self._epochs[number]
        row["node"] = result.get("hostname")
        if error := result.get("error"):
            row |= {"error": error, "error_kind": result.get("error_kind")}
            return
        if not (result.get("replayed") and result["epoch"] in known):
            report = {name: result.get(name) for name in EPOCH_COLUMNS}
            append_report(self._writer, row, report, result)
            known.pop(result["epoch"], None)
            known[result["epoch"]] = report
            self._meter.trained()
        apply_report(self._spec, row, result, known)
        if result.get("out_of_time"):
            self.decide(out_of_time(row))
        self._retries.succeeded(number)
        self._observer.epoch_reported(row, result)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:  # noqa: ARG002
        """Write the end of a trial, which may have reported an error."""
        number = trial.config["number"]
        if self.searcher.is_paused(number):
            self.pause(number)
        elif trial.last_result.keys() & {"epoch", "error"}:  # or else it never began
            self.end([number], outcome(trial.last_result))

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:  # noqa: ARG002
        """Record a failed attempt, and what follows.

        A trial that ends with its study stays RUNNING.
        """
        if self._stopping() or self._lost():
            return
        number = trial.config["number"]
        failure = self._describe(trial)
        error = {"error": failure.text, "error_kind": failure.kind}
        if retry := self._retries.failed(failure):
            self._write_retry(self._rows[number], error)
            self.searcher.retry(retry)
        else:
            self._rows[number] |= error
            self.searcher.give_up(number, failure.kind)
            self.end([number], "FAILED")

    def _describe(self, trial: Trial) -> Failure:
        """Tell what ended an attempt, and defer the log of its traceback."""
        number, error = trial.config["number"], error_of(trial)
        row = self._rows[number]
        log = self._folder.log(number, row["attempt"])
        failure = describe_failure(number, error, self._workers.pop(number, None), row.get("node"), log)
        text = str(error) if error else failure.cause
        self._writer.defer(partial(self._folder.storage.write, log, text.encode()))
        return failure

    def _write_retry(self, row: Row, error: Row) -> None:
        """Write this attempt's FAILED row and the next one's RUNNING row.

        Both rows are in one part.
        """
        number = row["number"]
        self._meter.ended(number)
        failed = {**row, **error, "state": "FAILED", "updated_at": now()}
        self._attempts[number] += 1
        row.update(attempt=self._attempts[number], updated_at=now())
        self._writer.append("trials", failed)
        self._writer.append("trials", dict(row))
        self._writer.flush()
        self._observer.trial_ended(failed)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:  # noqa: ARG002
        """Flush rows that are old enough.

        Tune calls this several times a second.
        """
        self._writer.flush(if_older_than=FLUSH_SECONDS)
        if self._stopping():
            self._observer.halting()

    def pause(self, number: int) -> None:
        """Write that a trial waits at a rung."""
        self._meter.ended(number)
        row = self._rows[number]
        row["state"] = "PAUSED"
        row["sampler_attrs"] = self._sampler_attrs(row)
        self._write(row)
        self._workers.pop(number, None)
        self._retries.ended(number)
        self._observer.trial_paused(row)

    def end(self, numbers: Iterable[int], state: State) -> None:
        """Write the last rows of trials in one part.

        Data that only running trials need are forgotten.
        """
        rows = [self._rows[number] for number in numbers]
        for row in rows:
            row.update(state=state, sampler_attrs=self._sampler_attrs(row), updated_at=now())
            self._writer.append("trials", dict(row))
        self._writer.flush()
        for row in rows:
            self._clean_up(row)
        self._writer.flush()
        for row in rows:
            self._forget(row["number"])
            self._observer.trial_ended(row)

    def _clean_up(self, row: Row) -> None:
        """Defer the removal of files that a trial's end frees.

        These are its checkpoint, and weights that are not among the best.
        """
        number = row["number"]
        self._writer.defer(partial(self._folder.storage.remove, self._folder.checkpoint(number)))
        if row["state"] == "COMPLETE" and is_search(row) and is_allowed(self._spec, row):
            self._weights.rank([(row["value"], number)])
            self._meter.completed(row["values"])
        for other in self._weights.superseded(number):
            self._writer.defer(partial(self._folder.storage.remove, self._folder.weights(other)))

    def left_of(self, number: int) -> tuple[float, int]:
        """Return the seconds and epochs that a waiting trial still needs.

        The seconds are estimated from its pace so far.
        """
        row = self._rows[number]
        left = row["epochs_planned"] - row["epochs_run"]
        return float(row["seconds"] / row["epochs_run"] * left), left

    def _sampler_attrs(self, row: Row) -> Any:
        """Return what the sampler keeps about a trial.

        The row has it while there is no searcher.
        """
        searcher: OptunaSearcher | None = getattr(self, "searcher", None)
        return searcher.sampler_attrs(row["number"]) if searcher else row["sampler_attrs"]

    def _forget(self, number: int) -> None:
        self._meter.ended(number)
        self._retries.ended(number)
        if hasattr(self, "searcher"):
            self.searcher.forget(number)
        self._workers.pop(number, None)
        del self._rows[number], self._epochs[number]

    def _write(self, row: Row) -> None:
        row["updated_at"] = now()
        self._writer.append("trials", dict(row))
        self._writer.flush()

    def flush_all(self) -> None:
        """Flush all pending rows, see `Writer.flush_all`."""
        self._writer.flush_all()

    def trials(self) -> pd.DataFrame:
        """Return the trials table with every row so far."""
        self.flush_all()
        return self._tables.trials()
