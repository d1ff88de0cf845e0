"""Several studies side by side: their settings, values and costs, and which one is ahead."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tuner.analysis.confirmation import ERROR, error_above, error_text, find_winner, repeated_values
from tuner.analysis.ledger import ledger
from tuner.config.study import StudyConfig
from tuner.results.folder import StudyResults
from tuner.results.ranking import rank_confirmed

_Values = NDArray[np.float64]
_SPLIT = ("test", "train", "validation", "split_seed")
"""Keys of `dataset` that decide which images are validation images."""


@dataclass(frozen=True)
class Comparison:
    """Several studies side by side.

    Attributes:
        settings: Settings that differ, one row per key such as `search.sampler`, one column per
            study. A missing cell is None, and a list is JSON text.
        results: One row per study, see `summarize`.
        obstacles: Sentences on why the values cannot be compared, empty if they can.
        tests: One row per study that the leading one is tested against, see `compare_values`. Empty
            with obstacles.
    """

    settings: pd.DataFrame
    results: pd.DataFrame
    obstacles: list[str]
    tests: pd.DataFrame


def compare(studies: Sequence[StudyResults]) -> Comparison:
    """Compare the settings, values and costs of studies.

    Each study has the name that `label` gives it.
    """
    labels = label(studies)
    obstacles = find_obstacles(studies)
    results = pd.DataFrame([summarize(study) for study in studies], index=pd.Index(labels, name="study"))
    results["best"] = results["best"].astype("Int64")  # because a missing number would make them floats
    values = [repeated_values(study.spec, study.trials) for study in studies]
    repeats = {} if obstacles else dict(zip(labels, values, strict=True))
    sign = studies[0].spec.objective[0].sign
    return Comparison(differing_settings(studies), results, obstacles, compare_values(repeats, sign))


def label(studies: Sequence[StudyResults]) -> list[str]:
    """Name each study by its folder.

    Folders with equal names are named by their paths.
    """
    names = [study.folder.name for study in studies]
    paths = [str(study.folder) for study in studies]
    return [path if names.count(name) > 1 else name for name, path in zip(names, paths, strict=True)]


def differing_settings(studies: Sequence[StudyResults]) -> pd.DataFrame:
    """Return the settings that differ between studies.

    One row per key, one column per study.
    """
    settings = [dict(_flatten(study.spec.to_dict())) for study in studies]
    found = dict.fromkeys(key for each in settings for key in each if key != "study")
    sections = [*StudyConfig.model_fields]
    keys = sorted(found, key=lambda key: sections.index(key.partition(".")[0]))
    differ = [key for key in keys if len({repr(each.get(key)) for each in settings}) > 1]
    rows = {key: [each.get(key) for each in settings] for key in differ}
    return pd.DataFrame.from_dict(rows, orient="index", columns=label(studies), dtype=object)


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each setting with its whole key: `search.trials`."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", json.dumps(value) if isinstance(value, list) else value


def summarize(study: StudyResults) -> dict[str, Any]:
    """Return the best value of a study, and what it cost.

    Keys: `metric` (the first objective), `trials`, `completed`, `best` (number of the best trial),
    `value` (its value in the search), `mean`, `low`, `high` (of its repeats, with the 95 % interval),
    `seeds` (its completed repeats), `test_accuracy` (of that trial in the search), `epochs` and
    `train_seconds` (of all trials), `slot_seconds` and `wall_seconds` (None in earlier versions).
    What is missing is None.
    """
    spec, trials = study.spec, study.trials
    ranked, winner, time = rank_confirmed(spec, trials), find_winner(spec, trials), ledger(study)
    best = None if ranked.empty else ranked.iloc[0]
    return {
        "metric": spec.objective[0].metric,
        "trials": len(trials),
        "completed": int((trials["state"] == "COMPLETE").sum()),
        "best": None if best is None else int(best["number"]),
        "value": None if best is None else float(best["value"]),
        "mean": _known(winner and winner.mean),
        "low": _known(winner and winner.low),
        "high": _known(winner and winner.high),
        "seeds": winner.seeds if winner else 0,
        "test_accuracy": None if best is None else _known(best["test_accuracy"]),
        "epochs": int((study.epochs["epoch"] > 0).sum()),
        "train_seconds": float(trials["train_seconds"].sum()),
        "slot_seconds": time and time.slot_seconds,
        "wall_seconds": time and time.wall_seconds,
    }


def _known(value: Any) -> float | None:
    """Return a number, None for a missing one."""
    return None if value is None or pd.isna(value) else float(value)


def find_obstacles(studies: Sequence[StudyResults]) -> list[str]:
    """Describe what makes the values of studies incomparable, in one sentence each.

    These are other objectives, images, validation images and protocols.
    """
    labels = label(studies)
    objectives = [f"{study.spec.objective[0].direction} {study.spec.objective[0].metric}" for study in studies]
    splits = [_split(study) for study in studies]
    protocols = [study.spec.protocol for study in studies]
    return [
        *_difference("objective", labels, objectives),
        *_other_images(studies, labels),
        *(line for key in _SPLIT for line in _difference(f"dataset.{key}", labels, [each[key] for each in splits])),
        *_difference("protocol", labels, protocols),
    ]


def _split(study: StudyResults) -> dict[str, str]:
    decisive = study.spec.dataset.decisive
    return {key: json.dumps(decisive[key]) for key in _SPLIT}


def _difference(key: str, labels: Sequence[str], values: Sequence[str]) -> list[str]:
    """Name the first two studies whose values differ."""
    for index, value in enumerate(values):
        if value != values[0]:
            return [f"{key}: {values[0]} in {labels[0]}, {value} in {labels[index]}"]
    return []


def _other_images(studies: Sequence[StudyResults], labels: Sequence[str]) -> list[str]:
    """Name the first two studies whose images differ.

    Images of the same size are compared by their hash, if both studies recorded it. Otherwise the
    names of the data sets are compared.
    """
    for (first, one), (other, two) in pairwise(zip(labels, studies, strict=True)):
        names = [study.spec.dataset.name for study in (one, two)]
        hashes = [_fingerprint(study) for study in (one, two)]
        if one.spec.dataset.image_size == two.spec.dataset.image_size and all(hashes):
            if hashes[0] != hashes[1]:
                return [f"dataset.name: {names[0]} in {first}, {names[1]} in {other}, whose images differ"]
        elif names[0] != names[1]:
            return [f"dataset.name: {names[0]} in {first}, {names[1]} in {other}"]
    return []


def _fingerprint(study: StudyResults) -> str | None:
    """Return the hash of the images of a study's last run."""
    runs = study.folder.provenance().get("runs") or [{}]
    dataset = runs[-1].get("dataset")
    return dataset.get("fingerprint") if isinstance(dataset, dict) else None


def compare_values(repeats: Mapping[str, Sequence[_Values]], sign: int) -> pd.DataFrame:
    """Test whether the leading study is ahead of each other study.

    A study is judged by its repeats with other seeds, because the values of its search were chosen
    for being high. The best configuration has to be above every configuration of the other study, by
    Welch. Its error is multiplied by the number of pairs of a configuration and another study (by
    Bonferroni), because the leading one was chosen among them for its mean. With one configuration of
    each of two studies that is Welch's two-sided test.

    Args:
        repeats: The values of each repeated configuration by study, the best configuration first.
        sign: `Objective.sign`.

    Returns:
        One row per other study: `ahead`, `other`, `difference` (of the best means), `p` (missing
        without a test) and `verdict` in words.
    """
    columns = ["ahead", "other", "difference", "p", "verdict"]
    means = {name: sign * float(values[0].mean()) for name, values in repeats.items() if values}
    if len(repeats) < 2 or not means:
        return pd.DataFrame(columns=columns)
    ahead = max(means, key=lambda name: means[name])
    best = sign * repeats[ahead][0]
    pairs = sum(len(values) for values in repeats.values()) * (len(repeats) - 1)
    rows: list[list[Any]] = []
    for other in [name for name in repeats if name != ahead]:
        values = [sign * each for each in repeats[other]]
        difference, error = _test(best, values, pairs)
        verdict = _verdict(ahead, other, best, values, error)
        rows.append([ahead, other, sign * difference, error, verdict])
    return pd.DataFrame(rows, columns=columns)


def _test(best: _Values, values: Sequence[_Values], pairs: int) -> tuple[float, float]:
    """Return the difference of the best means, and its error.

    At this error the best mean is above each mean of the other study. Both numbers are NaN if the
    other study has no repeats.
    """
    if not values:
        return math.nan, math.nan
    errors = [error_above(best, each) for each in values]
    return float(best.mean() - values[0].mean()), float(np.minimum(1.0, pairs * np.max(errors)))


def _verdict(ahead: str, other: str, best: _Values, values: Sequence[_Values], error: float) -> str:
    """Describe a test, or why there is none."""
    if not values:
        return f"{other} has no repeats: no test"
    if max(len(each) for each in (best, *values)) == 1:
        return f"{ahead} and {other} have one value each: no test"
    if math.isnan(error):
        return f"{ahead} and {other}: no test without two repeats of each configuration, and values that differ"
    is_ahead = "is ahead of" if error < ERROR else "cannot be told from"
    return f"{ahead} {is_ahead} {other} ({error_text(error)})"
