"""Runs of MLflow: one per trial, in the experiment that has the study's name."""

import json
import logging
import os
from collections.abc import Container, Iterator, Sequence
from datetime import datetime
from typing import Any, TypeVar

from tuner.config.study import StudyConfig
from tuner.errors import shorten
from tuner.results.folder import StudyFolder
from tuner.results.runs import begun_at
from tuner.results.schema import FINISHED, parameters_from_row
from tuner.study.trial_logs import Points, Row, final_metrics, metrics_of

T = TypeVar("T")
_STATUS = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAILED": "FAILED"}
_MOST_METRICS, _MOST_PARAMETERS, _MOST_RUNS = 1000, 100, 1000
"""Metrics, parameters and runs that MLflow takes or gives in one call."""
_LONGEST_TEXT = 5000
"""Characters of a tag or parameter."""
_TAGS = ("number", "seed", "purpose", "repeat_of", "origin", "node", "device", "code", "error_kind", "error")
"""Cells of a trial's row that become tags, as far as they are there."""


class MlflowLog:
    """An experiment of MLflow with a run per trial.

    Args:
        uri: Where the experiment is tracked.
        spec: The study.
        folder: The study's folder.
    """

    name = "mlflow"

    def __init__(self, uri: str, spec: StudyConfig, folder: StudyFolder) -> None:
        self.place, self._spec, self._folder = uri, spec, folder
        self._runs: dict[int, Any] = {}
        self._experiment = self._begun = ""
        self._client: Any = None

    def open(self) -> None:
        """Find or create the experiment, and find this study's runs."""
        self._client = _connect(self.place)
        found = self._client.get_experiment_by_name(self._spec.study)
        self._experiment = found.experiment_id if found else self._client.create_experiment(self._spec.study)
        self._begun = begun_at(self._folder.provenance())
        self._runs = {int(run.data.tags["tuner.number"]): run for run in self._search()}

    def _search(self) -> Iterator[Any]:
        """Yield the runs of this study.

        Runs of an earlier study of the same name are left out.
        """
        filter_, token = f"tags.`tuner.begun` = '{self._begun}'", None
        while True:
            page = self._client.search_runs([self._experiment], filter_, max_results=_MOST_RUNS, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def is_whole(self, row: Row) -> bool:
        """Return True if the run was terminated with this attempt and state."""
        run = self._runs.get(int(row["number"]))
        if run is None or run.info.status == "RUNNING":
            return False
        tags = run.data.tags
        return (tags.get("tuner.attempt"), tags.get("tuner.state")) == (str(row["attempt"]), row["state"])

    def write(self, row: Row, epochs: Points) -> None:
        """Complete the run of a trial.

        A run that holds other points is deleted and created again.
        """
        number = int(row["number"])
        wanted = {(name, at): value for at, point in epochs.items() for name, value in metrics_of(point).items()}
        if row["state"] in FINISHED:
            wanted |= {(name, _last_epoch(row)): value for name, value in final_metrics(row).items()}
        logged = self._logged(number)
        if len(dict(logged)) < len(logged) or any(wanted.get(key) != value for key, value in logged):
            self._client.delete_run(self._runs.pop(number).info.run_id)
            logged = []
        run = self._runs[number] = self._runs.get(number) or self._create(row)
        if run.info.status != "RUNNING":
            self._client.update_run(run.info.run_id, status="RUNNING")
        self._log_parameters(row)
        self._log(row, epochs, {key for key, _ in logged})

    def append(self, row: Row, epochs: Points) -> None:
        """Add the metrics of epochs."""
        self._log(row, epochs)

    def end(self, row: Row) -> None:
        """Add test metrics and tags, and terminate the run."""
        from mlflow.entities import Metric, RunTag

        run_id = self._runs[int(row["number"])].info.run_id
        at = _milliseconds(row["updated_at"])
        metrics = [Metric(name, value, at, _last_epoch(row)) for name, value in final_metrics(row).items()]
        tags = {**_tags(row), "tuner.attempt": str(row["attempt"]), "tuner.state": row["state"]}
        self._client.log_batch(run_id, metrics, tags=[RunTag(*tag) for tag in tags.items()])
        self._client.set_terminated(run_id, _STATUS[row["state"]], at)

    def _logged(self, number: int) -> list[tuple[tuple[str, int], float]]:
        """Return all points of a run: metric, epoch and value."""
        if number not in self._runs:
            return []
        run_id = self._runs[number].info.run_id
        names = self._client.get_run(run_id).data.metrics
        histories = (self._client.get_metric_history(run_id, name) for name in names)
        return [((metric.key, metric.step), metric.value) for history in histories for metric in history]

    def _create(self, row: Row) -> Any:
        number, start = int(row["number"]), row.get("started_at", row["updated_at"])
        tags = {"tuner.begun": self._begun, **_tags(row)}
        return self._client.create_run(self._experiment, _milliseconds(start), tags, f"trial-{number:05d}")

    def _log_parameters(self, row: Row) -> None:
        from mlflow.entities import Param

        parameters = parameters_from_row(self._spec.space, row)
        texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in parameters.items()}
        params = [Param(name, shorten(text, _LONGEST_TEXT)) for name, text in texts.items()]
        for chunk in _chunks(params, _MOST_PARAMETERS):
            self._client.log_batch(self._runs[int(row["number"])].info.run_id, params=chunk)

    def _log(self, row: Row, epochs: Points, logged: Container[tuple[str, int]] = ()) -> None:
        """Log the metrics of epochs, those left out that are logged already."""
        from mlflow.entities import Metric

        metrics = [
            Metric(name, value, _milliseconds(point["at"]), int(at))
            for at, point in sorted(epochs.items())
            for name, value in metrics_of(point).items()
            if (name, at) not in logged
        ]
        for chunk in _chunks(metrics, _MOST_METRICS):
            self._client.log_batch(self._runs[int(row["number"])].info.run_id, chunk)


def _connect(uri: str) -> Any:
    """Return a client of MLflow, without its telemetry and messages.

    The silenced messages are about Git and database migrations.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):  # after the import, which sets the level
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient(uri)


def _tags(row: Row) -> dict[str, str]:
    found = {f"tuner.{name}": row[name] for name in _TAGS if name in row and row[name] is not None}
    return {name: shorten(str(value), _LONGEST_TEXT) for name, value in found.items()}


def _last_epoch(row: Row) -> int:
    return int(row.get("epochs_run") or 0)


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _chunks(items: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    return (items[start : start + most] for start in range(0, len(items), most))
