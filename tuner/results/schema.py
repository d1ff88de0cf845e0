"""Every table's columns, and the records that become their rows."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, overload

import pandas as pd
import pyarrow as pa

from tuner.config.space import Space
from tuner.config.values import Kind, Value

Table = Literal["folds", "epochs", "steps", "decisions", "predictions", "classes", "trials"]
State = Literal["RUNNING", "PAUSED", "COMPLETE", "PRUNED", "FAILED"]
IN_FLIGHT: tuple[State, ...] = ("RUNNING", "PAUSED")
FINISHED: tuple[State, ...] = ("COMPLETE", "PRUNED", "FAILED")
PARAMETERS_AT_FAULT = ("diverged", "memory", "configuration")
"""Kinds of failures that tell of the trial's parameters."""

_TIME = pa.timestamp("us", tz="UTC")
_TEXT, _INT, _FLOAT = pa.string(), pa.int64(), pa.float64()


class Column(NamedTuple):
    """A column: its type, and its meaning in one line."""

    type: pa.DataType
    doc: str


_MEASURED = {
    "train_loss": Column(_FLOAT, "Mean training loss, with dropout and augmentation."),
    "train_accuracy": Column(_FLOAT, "Accuracy on the training images during the epoch."),
    "val_loss": Column(_FLOAT, "Cross-entropy on the validation images, in nats."),
    "val_accuracy": Column(_FLOAT, "Accuracy on the validation images, 0 to 1."),
    "val_auroc": Column(_FLOAT, "Area under the ROC curve, if the study names the metric."),
    "val_f1": Column(_FLOAT, "F1, mean over the classes, if the study names it."),
    "val_balanced_accuracy": Column(_FLOAT, "Recall, mean over the classes, if the study names it."),
    "val_top5_accuracy": Column(_FLOAT, "Accuracy among the five likeliest classes, if the study names it."),
    "val_ece": Column(_FLOAT, "Expected calibration error, if the study names it."),
}
"""Columns of an epoch that tell how well the network does."""

COLUMNS: dict[Table, dict[str, Column]] = {
    "trials": {
        "study": Column(_TEXT, "Name of the study."),
        "number": Column(_INT, "Number of the trial, from 0 in the order of proposals."),
        "attempt": Column(_INT, "Attempt that wrote the row, from 1. A trial that waited goes on in its next."),
        "state": Column(_TEXT, "RUNNING, PAUSED (waits at a rung), COMPLETE, PRUNED or FAILED."),
        "value": Column(_FLOAT, "First objective after the last epoch, with folds the mean of the folds."),
        "deviation": Column(_FLOAT, "Standard deviation of `value` over the folds, if there are folds."),
        "values": Column(pa.list_(_FLOAT), "All objectives, in the file's order."),
        "best_epoch": Column(_INT, "Epoch with the best first objective."),
        "epochs_run": Column(_INT, "Epochs that the trial has completed."),
        "epochs_planned": Column(_INT, "Epochs that the trial would run to its end."),
        "val_accuracy": Column(_FLOAT, "Validation accuracy after the last epoch, 0 to 1."),
        "val_loss": Column(_FLOAT, "Validation cross-entropy after the last epoch, in nats."),
        "test_accuracy": Column(_FLOAT, "Test accuracy, measured once at the end of a completed trial."),
        "test_loss": Column(_FLOAT, "Test cross-entropy, measured with `test_accuracy`."),
        "train_seconds": Column(_FLOAT, "Seconds of training steps, evaluation left out."),
        "seconds": Column(_FLOAT, "Seconds of all epochs, evaluation included."),
        "parameters_count": Column(_INT, "Trainable parameters of the network."),
        "seed": Column(_INT, "Seed of the training."),
        "protocol": Column(_TEXT, "clean or as_published."),
        "purpose": Column(_TEXT, "search, or repeat: a best trial with another seed."),
        "repeat_of": Column(_INT, "Trial that a repeat trains again."),
        "origin": Column(_TEXT, "Sampler that proposed the trial, try_first, learn_from, or repeat."),
        "sampler_attrs": Column(_TEXT, "What the sampler keeps about the trial, as JSON."),
        "node": Column(_TEXT, "Host that trained the trial."),
        "device": Column(_TEXT, "Device and number type of the training."),
        "code": Column(_TEXT, "Hash of the code that trained it: of the user's network, or of this package."),
        "error": Column(_TEXT, "Reason of a failure, in one line."),
        "error_kind": Column(_TEXT, "diverged, memory, configuration, crash, environment, or constraint: not trained."),
        "started_at": Column(_TIME, "Time of the trial's start."),
        "updated_at": Column(_TIME, "Time of the row."),
    },
    "epochs": {
        "study": Column(_TEXT, "Name of the study."),
        "number": Column(_INT, "Number of the trial."),
        "attempt": Column(_INT, "Attempt that reported the epoch."),
        "epoch": Column(_INT, "Epoch, from 1; 0 is the untrained network."),
        **_MEASURED,
        "deviation": Column(_FLOAT, "Standard deviation of the first objective over the folds, if there are folds."),
        "seconds_per_image_1": Column(_FLOAT, "Seconds per image of a forward pass of one, if it is an objective."),
        "seconds_per_image_64": Column(_FLOAT, "Seconds per image of a forward pass of 64, if it is an objective."),
        "learning_rate": Column(_FLOAT, "Learning rate of the epoch's last step."),
        "train_seconds": Column(_FLOAT, "Seconds of training steps so far, evaluation left out."),
        "parameters_count": Column(_INT, "Trainable parameters of the network."),
        "seconds": Column(_FLOAT, "Seconds of the whole epoch, evaluation included."),
        "evaluation_seconds": Column(_FLOAT, "Seconds of evaluation before the report, test images included."),
        "checkpoint_seconds": Column(_FLOAT, "Seconds of saving checkpoints and weights before the report."),
        "images_per_second": Column(_FLOAT, "Training images per second of training."),
        "peak_memory_bytes": Column(_INT, "Peak memory of tensors on a CUDA device, else empty."),
        "at": Column(_TIME, "Time of the report."),
    },
    "folds": {
        "study": Column(_TEXT, "Name of the study."),
        "number": Column(_INT, "Number of the trial."),
        "attempt": Column(_INT, "Attempt that reported the epoch."),
        "epoch": Column(_INT, "Epoch, from 1."),
        "fold": Column(_INT, "Fold whose images are the validation images, from 1."),
        **_MEASURED,
        "test_accuracy": Column(_FLOAT, "Test accuracy of the fold's network, at the end of a completed trial."),
        "test_loss": Column(_FLOAT, "Test cross-entropy, measured with `test_accuracy`."),
    },
    "steps": {
        "study": Column(_TEXT, "Name of the study."),
        "number": Column(_INT, "Number of the trial."),
        "attempt": Column(_INT, "Attempt that reported the step."),
        "epoch": Column(_INT, "Epoch of the step."),
        "step": Column(_INT, "Optimizer steps since the training started."),
        "train_loss": Column(_FLOAT, "Mean training loss since the row before."),
        "val_loss": Column(_FLOAT, "Cross-entropy on the validation images, in nats."),
        "val_accuracy": Column(_FLOAT, "Accuracy on the validation images, 0 to 1."),
    },
    "decisions": {
        "study": Column(_TEXT, "Name of the study."),
        "number": Column(_INT, "Number of the trial."),
        "attempt": Column(_INT, "Attempt that was judged."),
        "bracket": Column(_INT, "Bracket of the rung."),
        "rung": Column(_FLOAT, "Epochs of the rung."),
        "epoch": Column(_INT, "Epoch at which the trial was judged."),
        "value": Column(_FLOAT, "Objective of the trial there."),
        "cutoff": Column(
            _FLOAT, "Value to reach. Empty while too few trials stand at the rung, or where fronts are ranked."
        ),
        "rank": Column(_INT, "Rank of the trial among those at the rung, from 1."),
        "of": Column(_INT, "Trials at the rung, this one included."),
        "verdict": Column(_TEXT, "go, stop, wait, promote, finish, complete, or time: out of `trial_minutes`."),
        "at": Column(_TIME, "Time of the verdict."),
    },
    "predictions": {
        "study": Column(_TEXT, "Name of the study."),
        "number": Column(_INT, "Number of the trial."),
        "attempt": Column(_INT, "Attempt that completed the trial."),
        "split": Column(_TEXT, "validation or test."),
        "index": Column(_INT, "Index of the image in its file order."),
        "label": Column(_INT, "True class."),
        "predicted": Column(_INT, "Class that the network predicts."),
        "probability": Column(_FLOAT, "Probability of the predicted class."),
    },
    "classes": {
        "study": Column(_TEXT, "Name of the study."),
        "number": Column(_INT, "Number of the trial."),
        "attempt": Column(_INT, "Attempt that completed the trial."),
        "epoch": Column(_INT, "Epoch of the measurement, the trial's last."),
        "split": Column(_TEXT, "validation or test."),
        "class": Column(_INT, "Class, from 0."),
        "name": Column(_TEXT, "Name of the class."),
        "support": Column(_INT, "Images of the class."),
        "precision": Column(_FLOAT, "Share of the predictions of the class that are right."),
        "recall": Column(_FLOAT, "Share of the images of the class that are predicted right."),
        "f1": Column(_FLOAT, "Harmonic mean of precision and recall."),
        "auroc": Column(_FLOAT, "Area under the ROC curve, the class against the rest."),
    },
}
"""Columns of every table. `docs/results.md` is generated from them."""

_CONTEXT = ("study", "number", "attempt", "at")

EPOCH_COLUMNS = tuple(name for name in COLUMNS["epochs"] if name not in _CONTEXT)
"""Columns of `epochs` that a report contains. The recorder adds the others."""

ORDER: tuple[Table, ...] = ("folds", "epochs", "steps", "decisions", "predictions", "classes", "trials")
"""The order of writing: an epoch's row comes after its folds, and a finished trial's row last."""

KEYS: dict[Table, list[str]] = {
    "trials": ["number", "attempt", "state", "updated_at"],
    "epochs": ["number", "attempt", "epoch"],
    "folds": ["number", "attempt", "epoch", "fold"],
    "steps": ["number", "attempt", "step"],
    "decisions": ["number", "attempt", "bracket", "rung", "verdict"],
    "predictions": ["number", "attempt", "split", "index"],
    "classes": ["number", "attempt", "split", "class"],
}

_ARROW: dict[Kind, pa.DataType] = {"bool": pa.bool_(), "int": _INT, "float": _FLOAT, "text": _TEXT, "json": _TEXT}
PANDAS_TYPES = {_INT: pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}


def schema(table: Table, space: Space) -> pa.Schema:
    """Return the columns of a table.

    Those of `trials` include the parameters.
    """
    columns = {name: column.type for name, column in COLUMNS[table].items()}
    if table == "trials":
        columns |= {f"param_{name}": _ARROW[parameter.kind] for name, parameter in space.root.items()}
    return pa.schema(list(columns.items()))


def table_of(columns: Iterable[str]) -> Table | None:
    """Return the table that shares most columns with a part.

    Return None if no table does.
    """
    names = set(columns)
    shared = {table: len(names & set(own)) for table, own in COLUMNS.items() if "number" in names}
    return max(shared, key=lambda table: shared[table], default=None)


def parameters_to_row(space: Space, parameters: Mapping[str, Value]) -> dict[str, Any]:
    """Make the `param_*` cells of a trial, with lists as JSON text."""
    return {
        f"param_{name}": json.dumps(parameters[name]) if space[name].kind == "json" else parameters[name]
        for name in parameters
        if name in space
    }


def parameters_from_row(space: Space, row: Mapping[Any, Any]) -> dict[str, Value]:
    """Read the parameters of a trial from its row."""
    parameters: dict[str, Value] = {}
    for name, parameter in space.root.items():
        cell = row.get(f"param_{name}")
        if cell is None or cell is pd.NA or cell != cell:
            continue
        plain = cell.item() if hasattr(cell, "item") else cell
        parameters[name] = parameter.canonical(json.loads(plain) if parameter.kind == "json" else plain)
    return parameters


@dataclass(frozen=True)
class StepResult:
    """A line of the step log, measured within an epoch."""

    step: int
    """Steps since the training started."""
    train_loss: float
    """Mean over the steps since the previous line."""
    val_loss: float
    val_accuracy: float


@dataclass(frozen=True)
class EpochResult:
    """Measurements of one epoch.

    Losses are means over images in nats. Accuracies are 0 to 1.
    """

    epoch: int
    """Counts from 1."""
    train_loss: float
    """Mean over the epoch's steps, with dropout, augmentation and label smoothing."""
    train_accuracy: float
    val_loss: float
    """Plain cross-entropy."""
    val_accuracy: float
    learning_rate: float
    """Learning rate of the epoch's last step."""
    seconds: float
    """Seconds of the whole epoch, evaluation included."""
    train_seconds: float
    """Seconds of the training part of the epoch."""
    images_per_second: float
    """Training images per second of `train_seconds`."""
    evaluation_seconds: float
    """Seconds of the epoch's evaluation, that of the step log included."""
    peak_memory_bytes: int | None
    """Peak memory of tensors on a CUDA device during the epoch; None on a CPU."""
    val_auroc: float | None = None
    """This metric and the next ones are None unless they are asked for."""
    val_f1: float | None = None
    val_balanced_accuracy: float | None = None
    val_top5_accuracy: float | None = None
    val_ece: float | None = None
    steps: tuple[StepResult, ...] = ()
    """Lines of the step log, empty unless the study keeps one."""
    folds: tuple["EpochResult", ...] = ()
    """Epochs of the folds, whose mean this is. Empty without folds."""


OUTSIDE = "constraint"
"""Kind of error of a trial that a constraint kept from training. Its state is PRUNED."""


@overload
def is_untried(row: pd.DataFrame) -> "pd.Series[bool]": ...
@overload
def is_untried(row: Mapping[Any, Any]) -> bool: ...
def is_untried(row: Any) -> Any:
    """Return True if a constraint kept a trial from training."""
    return row["error_kind"] == OUTSIDE


@overload
def is_search(row: pd.DataFrame) -> "pd.Series[bool]": ...
@overload
def is_search(row: Mapping[Any, Any]) -> bool: ...
def is_search(row: Any) -> Any:
    """Return True if a trial belongs to the search, for each row."""
    return row["purpose"] == "search"


def outcome(report: Mapping[str, Any]) -> State:
    """Derive a trial's final state from its last report."""
    if report.get("error"):
        return "FAILED"
    return "COMPLETE" if report.get("epoch", 0) >= report.get("epochs_planned", float("inf")) else "PRUNED"
