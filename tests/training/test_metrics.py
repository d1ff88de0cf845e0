"""Metrics of random predictions, equal to scikit-learn's or to a plain loop."""

import math
import warnings
from typing import Any, get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn import metrics as reference
from sklearn.exceptions import UndefinedMetricWarning
from torch import Tensor

from tests.support.cuda import needs_cuda
from tuner.config.registry import EXTRA_METRICS, METRICS, ExtraMetric
from tuner.results.schema import COLUMNS, EpochResult
from tuner.training import metrics
from tuner.training.metrics import class_metrics, extra_metrics

Values = NDArray[Any]
CASES = [
    "plain",
    "ties",
    "dead",
    "missing-class",
    "two-classes",
    "saturated",
    "many-classes",
    "one-image",
    "never-seen",
]


def draw(case: str) -> tuple[Tensor, Tensor]:
    """Return logits (N, classes) and labels (N,) of a kind."""
    generator = torch.Generator().manual_seed(CASES.index(case))
    count = 1 if case == "one-image" else 200
    classes = {"two-classes": 2, "many-classes": 40}.get(case, 7)
    logits = 2 * torch.randn(count, classes, generator=generator)
    labels = torch.randint(classes, (count,), generator=generator)
    logits[torch.arange(count), labels] += 1
    if case == "ties":
        logits = logits.round()
    if case == "dead":
        logits = torch.zeros_like(logits)
    if case == "missing-class":
        labels[labels == 2] = 3
    if case == "saturated":
        logits *= 30
    if case == "never-seen":  # neither among the labels nor predicted
        labels[labels == 4] = 1
        logits[:, 4] = -100
    return logits, labels


def scikit(name: ExtraMetric, logits: Tensor, labels: Tensor) -> float:
    """Return a metric as scikit-learn computes it, NaN where it refuses."""
    scores, truth = logits.double().softmax(1).numpy(), labels.numpy()
    predicted, classes = logits.argmax(1).numpy(), range(logits.shape[1])
    match name:
        case "val_auroc" if len(classes) == 2:
            return float(reference.roc_auc_score(truth, scores[:, 1]))
        case "val_auroc":
            return float(reference.roc_auc_score(truth, scores, multi_class="ovr", average="macro", labels=classes))
        case "val_f1":
            return float(reference.f1_score(truth, predicted, average="macro"))
        case "val_balanced_accuracy":
            return float(reference.balanced_accuracy_score(truth, predicted))
        case "val_top5_accuracy":
            return float(reference.top_k_accuracy_score(truth, logits.numpy(), k=5, labels=classes))
        case "val_ece":
            return guo(scores.max(1), predicted == truth)


def guo(confidences: Values, correct: Values) -> float:
    """Return the calibration error of Guo et al. 2017 with 15 bins, bin by bin."""
    error = 0.0
    for number in range(15):
        inside = (confidences > number / 15) & (confidences <= (number + 1) / 15)
        if inside.any():
            error += inside.mean() * abs(correct[inside].mean() - confidences[inside].mean())
    return error


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", EXTRA_METRICS)
def test_extra_metric_equals_the_reference(name: ExtraMetric, case: str) -> None:
    if name == "val_top5_accuracy" and case == "two-classes":
        return
    logits, labels = draw(case)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes without images
        expected = scikit(name, logits, labels)
    measured = extra_metrics([name], logits, labels)[name]
    if math.isnan(expected):
        assert measured is None
        assert name == "val_auroc"
        assert case in ("missing-class", "one-image", "never-seen")
    else:
        assert measured == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_class_metrics_equal_the_reference(case: str) -> None:
    logits, labels = draw(case)
    classes = range(logits.shape[1])
    expected = reference.precision_recall_fscore_support(labels, logits.argmax(1), labels=classes, zero_division=np.nan)
    measured = class_metrics(logits, labels)
    for name, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        assert [math.nan if value is None else value for value in measured[name]] == pytest.approx(values, nan_ok=True)
    scores = logits.double().softmax(1)
    for label, area in enumerate(measured["auroc"]):
        truth = labels == label
        if truth.all() or not truth.any():
            assert area is None
        else:
            assert area == pytest.approx(reference.roc_auc_score(truth, scores[:, label]), abs=1e-12)


def test_scikit_learn_refuses_what_is_none_here() -> None:
    with pytest.warns(UndefinedMetricWarning):
        assert math.isnan(scikit("val_auroc", *draw("missing-class")))


def test_auroc_sorts_classes_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = draw("many-classes")
    together = extra_metrics(["val_auroc"], logits, labels)
    monkeypatch.setattr(metrics, "_SORTED_AT_ONCE", 3 * len(labels))
    assert extra_metrics(["val_auroc"], logits, labels) == together


def test_auroc_orders_probabilities_near_one() -> None:
    logits = torch.tensor([[0.0, 20.0], [0.0, 25.0], [0.0, 30.0]])  # all 1 in float32
    labels = torch.tensor([0, 1, 1])
    assert len(logits.softmax(1)[:, 1].unique()) == 1
    assert extra_metrics(["val_auroc"], logits, labels) == {"val_auroc": 1.0}


def test_extra_metrics_are_registered_with_columns() -> None:
    assert get_args(ExtraMetric) == EXTRA_METRICS
    for name in EXTRA_METRICS:
        assert name in METRICS
        assert name in COLUMNS["epochs"]
        assert EpochResult.__dataclass_fields__[name].default is None
    draws = {name: metric.direction for name, metric in METRICS.items() if name in EXTRA_METRICS}
    assert {name for name, direction in draws.items() if direction == "minimize"} == {"val_ece"}


@needs_cuda
@pytest.mark.parametrize("case", CASES)
def test_metrics_on_cuda_equal_those_on_cpu(case: str) -> None:
    logits, labels = draw(case)
    on_cuda = extra_metrics(EXTRA_METRICS, logits.cuda(), labels.cuda())
    assert on_cuda == pytest.approx(extra_metrics(EXTRA_METRICS, logits, labels), abs=1e-9)
