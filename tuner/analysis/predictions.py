"""What the predictions of a trial tell: confused classes, and how well each class does."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tuner.results.folder import StudyResults
from tuner.results.ranking import rank_confirmed

SPLITS = ("test", "validation")
"""Splits whose predictions may be recorded, the one that tells more first."""


def best_predictions(study: StudyResults) -> pd.DataFrame:
    """Return the predictions of the best trial that has predictions.

    Predictions on test images are preferred. The result has the columns of the table `predictions`.
    It is empty if there are no predictions.
    """
    found = study.predictions
    ranked = rank_confirmed(study.spec, study.trials)["number"]
    number = next(iter(ranked[ranked.isin(found["number"])]), -1)
    own = found[found["number"] == number]
    split = next((split for split in SPLITS if (own["split"] == split).any()), "")
    return own[own["split"] == split].sort_values("index", ignore_index=True)


def class_names(study: StudyResults, predictions: pd.DataFrame) -> list[str]:
    """Return the name of each class, or its number if unknown."""
    kept = study.classes.drop_duplicates("class")
    known = dict(zip(kept["class"].astype(int), kept["name"], strict=True))
    labels = pd.concat([predictions["label"], predictions["predicted"]]).dropna()
    count = max([*known, *labels.astype(int)], default=-1) + 1
    return [str(known.get(label, label)) for label in range(count)]


def confusion(predictions: pd.DataFrame) -> pd.DataFrame:
    """Count images by true and predicted class.

    Args:
        predictions: Rows of one split of `StudyResults.predictions`.

    Returns:
        One row per pair that occurs: `label`, `predicted`, `count`, and `share` (of the images of
        the true class, 0 to 1).
    """
    pairs = predictions.astype({"label": int, "predicted": int}).groupby(["label", "predicted"])
    counts = pairs.size().rename("count").reset_index()
    return counts.assign(share=counts["count"] / counts.groupby("label")["count"].transform("sum"))


def confused_pairs(predictions: pd.DataFrame, top: int | None = None) -> pd.DataFrame:
    """List the pairs of classes that are confused, the most frequent first.

    Returns:
        Columns as those of `confusion`, and `indices`: the images, the surest mistake first.
    """
    wrong = predictions[predictions["label"] != predictions["predicted"]]
    counts = confusion(predictions)
    pairs = counts[counts["label"] != counts["predicted"]]
    pairs = pairs.sort_values("count", ascending=False, kind="stable", ignore_index=True).iloc[:top]
    surest = wrong.sort_values("probability", ascending=False, kind="stable")
    images = surest.groupby(["label", "predicted"])["index"].agg(list)
    keys = zip(pairs["label"], pairs["predicted"], strict=True)
    return pairs.assign(indices=pd.Series([images[key] for key in keys], index=pairs.index, dtype=object))


def by_class(predictions: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Measure each class by the predictions.

    Returns:
        One row per class: `class` (its name), `support` (its images), `precision`, `recall` and
        `f1`, missing where nothing is divided by.
    """
    labels, guesses = (predictions[name].to_numpy(int) for name in ("label", "predicted"))
    support, predicted = (np.bincount(found, minlength=len(names)) for found in (labels, guesses))
    hits = np.bincount(labels[labels == guesses], minlength=len(names))
    return pd.DataFrame(
        {
            "class": list(names),
            "support": support,
            "precision": _divide(hits, predicted),
            "recall": _divide(hits, support),
            "f1": _divide(2 * hits, support + predicted),
        }
    )


def _divide(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """Divide counts, with NaN for a division by zero."""
    return part / np.where(whole > 0, whole, np.nan)
