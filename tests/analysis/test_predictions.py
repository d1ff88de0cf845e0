from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tuner import load_study
from tuner.analysis.predictions import best_predictions, by_class, class_names, confused_pairs, confusion

RUBIO = Path(__file__).parents[2] / "notebooks" / "results" / "rubio"


@pytest.fixture
def predictions() -> pd.DataFrame:
    """Six images of three classes, of which class 2 never occurs and is predicted once."""
    return pd.DataFrame(
        {
            "split": "test",
            "index": range(6),
            "label": [0, 0, 0, 1, 1, 1],
            "predicted": [0, 1, 1, 1, 0, 2],
            "probability": [0.9, 0.6, 0.8, 0.7, 0.5, 0.4],
        }
    )


def test_confusion_counts_pairs_by_true_class(predictions: pd.DataFrame) -> None:
    counts = confusion(predictions).set_index(["label", "predicted"])
    assert counts["count"].to_dict() == {(0, 0): 1, (0, 1): 2, (1, 0): 1, (1, 1): 1, (1, 2): 1}
    assert counts["share"][0, 1] == pytest.approx(2 / 3)


def test_confused_pairs_name_surest_images_first(predictions: pd.DataFrame) -> None:
    pairs = confused_pairs(predictions, 2)
    assert pairs[["label", "predicted", "count"]].to_numpy().tolist() == [[0, 1, 2], [1, 0, 1]]
    assert pairs["indices"].tolist() == [[2, 1], [4]]


def test_by_class_leaves_divisions_by_zero_empty(predictions: pd.DataFrame) -> None:
    table = by_class(predictions, ["cat", "dog", "owl"]).set_index("class")
    assert table["support"].to_dict() == {"cat": 3, "dog": 3, "owl": 0}
    assert table.loc["dog", ["precision", "recall", "f1"]].tolist() == pytest.approx([1 / 3] * 3)
    assert np.isnan(table.loc["owl", "recall"])
    assert table.loc["owl", "precision"] == 0


def test_predictions_are_those_of_the_best_trial() -> None:
    study = load_study(RUBIO)
    found = best_predictions(study)
    assert {*found["number"]} == {study.best["number"]}
    assert len(found) == found["index"].nunique()
    assert {*found["split"]} == {"validation"}
    assert (found["label"] == found["predicted"]).mean() == pytest.approx(study.best["val_accuracy"])
    assert class_names(study, found) == [str(label) for label in range(10)]


def test_predictions_are_empty_if_none_were_kept(predictions: pd.DataFrame) -> None:
    nothing = predictions.head(0)
    assert confusion(nothing).empty
    assert confused_pairs(nothing).empty
    assert by_class(nothing, []).empty
