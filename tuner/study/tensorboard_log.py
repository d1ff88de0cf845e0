"""Event files of TensorBoard: a folder per trial, with scalars, hyperparameters and fate."""

import io
import json
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.summary.writer.record_writer import RecordWriter

from tuner.config.study import StudyConfig
from tuner.errors import StudyError
from tuner.results.folder import StudyFolder
from tuner.results.runs import begun_at
from tuner.results.schema import parameters_from_row
from tuner.study.trial_logs import Points, Row, final_metrics, metrics_of

_STUDY = "study.json"
"""File that tells of which study a folder of event files is."""
_WHOLE = "whole.json"
"""File that tells that the event files of a trial are complete."""
_LEARNING = ("train_loss", "train_accuracy", "val_", "test_", "deviation", "learning_rate")
"""Beginnings of metrics that tell how well a network learns. Others tell of time, speed and size."""
_STATUS = {"FAILED": api_pb2.STATUS_FAILURE, "COMPLETE": api_pb2.STATUS_SUCCESS, "PRUNED": api_pb2.STATUS_SUCCESS}


class TensorBoardLog:
    """A folder of TensorBoard's event files with a run per trial.

    Args:
        root: The folder.
        spec: The study.
        folder: The study's folder.
    """

    name = "tensorboard"

    def __init__(self, root: Path, spec: StudyConfig, folder: StudyFolder) -> None:
        self._root, self._spec, self._folder = root.expanduser(), spec, folder
        self.place = str(self._root)
        self._files: dict[int, Path] = {}  # of trials that have not ended

    def open(self) -> None:
        """Create the folder of the log.

        Runs of an earlier study of the same name are moved aside.
        """
        told = {"study": self._spec.study, "begun": begun_at(self._folder.provenance())}
        if self._root.exists() and any(self._root.iterdir()) and (found := self._read_study()) != told:
            if not isinstance(found, dict) or "begun" not in found:
                raise StudyError(f"{self._root}: holds other files; name another folder in log_to")
            self._root.rename(self._root.with_name(f"{self._root.name}.until-{datetime.now(UTC):%Y%m%dT%H%M%S}"))
        self._root.mkdir(parents=True, exist_ok=True)
        (self._root / _STUDY).write_text(json.dumps(told))

    def _read_study(self) -> Any:
        try:
            return json.loads((self._root / _STUDY).read_text())
        except (OSError, ValueError):
            return None

    def _trial(self, row: Row) -> Path:
        return self._root / f"trial-{int(row['number']):05d}"

    def is_whole(self, row: Row) -> bool:
        """Return True if the trial's event files were completed for this attempt."""
        try:
            told: bool = json.loads((self._trial(row) / _WHOLE).read_text()) == _fate(row)
        except (OSError, ValueError):
            return False
        return told

    def write(self, row: Row, epochs: Points) -> None:
        """Write a new event file of the trial, then remove earlier ones.

        A TensorBoard that has read them drops their points, because the new file begins with a start.
        """
        folder = self._trial(row)
        folder.mkdir(exist_ok=True)
        (folder / _WHOLE).unlink(missing_ok=True)
        earlier = list(folder.glob("events.out.tfevents.*"))
        at = time.time_ns()
        path = folder / f"events.out.tfevents.{at // 10**9:010d}.{at % 10**9:09d}"
        unfinished = folder / "unfinished"
        unfinished.write_bytes(_encode([*self._first_events(row), *_points(epochs)]))
        unfinished.replace(path)
        self._files[int(row["number"])] = path
        for file in earlier:
            file.unlink()

    def append(self, row: Row, epochs: Points) -> None:
        """Add one event per epoch."""
        self._append(row, _points(epochs))

    def end(self, row: Row) -> None:
        """Add test metrics, fate and error, and mark the run as whole."""
        at = row["updated_at"].timestamp()
        self._append(row, [_scalars(int(row.get("epochs_run", 0)), at, final_metrics(row)), _ending(row, at)])
        (self._trial(row) / _WHOLE).write_text(json.dumps(_fate(row)))
        del self._files[int(row["number"])]

    def _append(self, row: Row, events: Iterable[Event]) -> None:
        with self._files[int(row["number"])].open("ab") as file:
            file.write(_encode(events))

    def _first_events(self, row: Row) -> list[Event]:
        """Return version, start, and the parameters as hyperparameters."""
        at = row["updated_at"].timestamp()
        parameters = parameters_from_row(self._spec.space, row)
        values = {name: json.dumps(value) if isinstance(value, list) else value for name, value in parameters.items()}
        group = f"trial-{int(row.get('repeat_of', row['number'])):05d}"  # because repeats are averaged
        start = row.get("started_at", row["updated_at"]).timestamp()
        return [
            Event(wall_time=at, file_version="brain.Event:2"),
            Event(wall_time=at, step=0, session_log=SessionLog(status=SessionLog.START)),
            Event(wall_time=at, summary=hparams_pb(values, group, start)),
        ]


def _fate(row: Row) -> dict[str, Any]:
    return {"attempt": int(row["attempt"]), "state": row["state"]}


def _points(epochs: Points) -> list[Event]:
    return [_scalars(at, epochs[at]["at"].timestamp(), metrics_of(epochs[at])) for at in sorted(epochs)]


def tag(metric: str) -> str:
    """Return TensorBoard's tag of a metric.

    TensorBoard groups its charts by the part before the slash.
    """
    return f"{'metrics' if metric.startswith(_LEARNING) else 'system'}/{metric}"


def _scalars(step: int, at: float, metrics: Mapping[str, float]) -> Event:
    values = [Summary.Value(tag=tag(name), simple_value=value) for name, value in metrics.items()]
    return Event(wall_time=at, step=step, summary=Summary(value=values))


def _ending(row: Row, at: float) -> Event:
    """Return an event with the fate of a trial.

    The event holds it as text and for the table of hyperparameters.
    """
    end = plugin_data_pb2.SessionEndInfo(status=_STATUS[row["state"]], end_time_secs=at)
    data = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(session_end_info=end))
    text = f"{row['state']}: {row['error']}" if row.get("error") else row["state"]
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
    tensor = TensorProto(dtype="DT_STRING", string_val=[text.encode("utf-8", "replace")], tensor_shape=shape)
    as_text = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
    values = [
        Summary.Value(tag="fate", metadata=as_text, tensor=tensor),
        Summary.Value(tag=metadata.SESSION_END_INFO_TAG, metadata=data, tensor=metadata.NULL_TENSOR),
    ]
    return Event(wall_time=at, step=int(row.get("epochs_run", 0)), summary=Summary(value=values))


def _encode(events: Iterable[Event]) -> bytes:
    """Return events as records of an event file."""
    file = io.BytesIO()
    writer = RecordWriter(file)
    for event in events:
        writer.write(event.SerializeToString())
    return file.getvalue()
