"""Logs of trials as TensorBoard and MLflow read them, and as the tables have them."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tuner.config.study import StudyConfig
from tuner.results.folder import StudyFolder
from tuner.results.schema import COLUMNS, parameters_from_row

METRICS = [name for name, column in COLUMNS["epochs"].items() if column.type in ("double", "int64")]
STATUS = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAILED": "FAILED", "RUNNING": "RUNNING", "PAUSED": "RUNNING"}
Points = dict[tuple[str, int], float]
Logged = dict[int, tuple[Points, dict[str, str], str]]
"""Points, parameters as text and fate of each trial."""


def read(log: str, folder: Path) -> Logged:
    """Read a log at its default place."""
    return (
        read_event_files(folder / "tensorboard") if log == "tensorboard" else _read_mlflow(folder.parent, folder.name)
    )


def read_event_files(root: Path) -> Logged:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logged: Logged = {}
    for run_folder in sorted(root.glob("trial-*")):
        found = EventAccumulator(str(run_folder), size_guidance={"scalars": 0, "tensors": 0}).Reload()
        steps = [(tag, event.step, event.value) for tag in found.Tags()["scalars"] for event in found.Scalars(tag)]
        points = {(tag.partition("/")[2], step): value for tag, step, value in steps}
        assert len(points) == len(steps), "a point is doubled"
        start = _start_of(found)
        values = {name: getattr(value, value.WhichOneof("kind")) for name, value in start.hparams.items()}
        fates = found.Tensors("fate") if "fate" in found.Tags()["tensors"] else []
        fate = [event.tensor_proto.string_val[0].decode().partition(":")[0] for event in fates]
        texts = {name: str(float(value)) for name, value in values.items()}
        logged[int(run_folder.name[6:])] = points, texts, STATUS["".join(fate) or "RUNNING"]
    return logged


def _start_of(found: Any) -> Any:
    from tensorboard.plugins.hparams.metadata import parse_session_start_info_plugin_data

    return parse_session_start_info_plugin_data(found.PluginTagToContent("hparams")["_hparams_/session_start_info"])


def read_groups(root: Path) -> list[str]:
    """Read the group of each trial in TensorBoard's table of hyperparameters."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return [_start_of(EventAccumulator(str(path)).Reload()).group_name for path in sorted(root.glob("trial-*"))]


def _read_mlflow(root: Path, study: str) -> Logged:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{root / 'mlflow.db'}")
    logged: Logged = {}
    for found in client.search_runs([client.get_experiment_by_name(study).experiment_id]):
        number = int(found.data.tags["tuner.number"])
        histories = [client.get_metric_history(found.info.run_id, name) for name in found.data.metrics]
        steps = [(metric.key, metric.step, metric.value) for history in histories for metric in history]
        points = {(name, step): value for name, step, value in steps}
        assert len(points) == len(steps), "a point is doubled"
        assert number not in logged, "a run is doubled"
        texts = {name: str(float(value)) for name, value in found.data.params.items()}
        logged[number] = points, texts, found.info.status
    return logged


def expected(log: str, spec: StudyConfig, folder: Path) -> Logged:
    """What the tables hold."""
    tables = StudyFolder(folder).tables(spec)
    points: dict[int, Points] = {}
    for row in tables.epochs().to_dict("records"):
        cells = {name: row[name] for name in METRICS if name not in ("number", "attempt", "epoch")}
        at = {(name, row["epoch"]): float(cell) for name, cell in cells.items() if pd.notna(cell)}
        points.setdefault(row["number"], {}).update(at)
    logged: Logged = {}
    for row in tables.trials().to_dict("records"):
        own = points.get(row["number"], {})
        final = {name: row[name] for name in ("test_accuracy", "test_loss") if pd.notna(row[name])}
        own |= {(name, row["epochs_run"]): float(cell) for name, cell in final.items()}
        if log == "tensorboard":
            own = {key: pytest.approx(value, rel=1e-6) for key, value in own.items()}  # as event files have 32 bits
        texts = {name: str(float(value)) for name, value in parameters_from_row(spec.space, row).items()}  # type: ignore[arg-type]
        logged[row["number"]] = own, texts, STATUS[row["state"]]
    return logged
