"""What a study learns from earlier ones: read once, and kept in its own folder."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from tuner.config.parameters import Constant
from tuner.config.study import StudyConfig
from tuner.errors import StudyError, first_line, shorten, suggest
from tuner.results.folder import StudyFolder, StudyResults, find_studies
from tuner.results.schema import is_search, parameters_from_row
from tuner.search.learned import LearnedStudy, LearnedTrial, fit_parameters
from tuner.search.optuna_study import reported_values
from tuner.search.schedulers import rung_epochs
from tuner.search.standings import GOOD_TRIALS, MOST_TRIALS, spread
from tuner.storage import is_url

FILE = "learned.json"
"""File of a study's folder with the trials that it learned from."""


def learn(folder: StudyFolder, spec: StudyConfig, fingerprint: str) -> list[LearnedStudy]:
    """Return the earlier studies from which a study learns.

    The first run reads those studies. Later runs read the file that `keep` has written.

    Args:
        folder: The study's folder. Other studies are named by their paths, or lie beside it.
        spec: The study.
        fingerprint: Hash of its images.

    Raises:
        StudyError: A study under `search.learn_from` does not exist, is this one, shares no parameter,
            does not measure the objective, or has no trial that fits. Or the kept file is missing
            or damaged.
    """
    if not spec.search.learn_from:
        return []
    if folder.storage.exists(FILE):
        return _read(folder)
    if len(folder.tables(spec).trials()):
        raise StudyError(
            f"{folder}/{FILE}: missing, so that the study would go on differently; restore it, or start over"
            " with --fresh"
        )
    return gather(folder, spec, fingerprint)


def gather(folder: StudyFolder, spec: StudyConfig, fingerprint: str) -> list[LearnedStudy]:
    """Read the earlier studies from their own folders.

    Raises:
        StudyError: As `learn`, except for the kept file.
    """
    names = spec.search.learn_from or []
    return [_learn_from(name, _find(name, folder), spec, fingerprint) for name in names]


def keep(folder: StudyFolder, learned: list[LearnedStudy]) -> None:
    """Write the learned studies into the study's folder.

    An existing file stays as it is.
    """
    if learned and not folder.storage.exists(FILE):
        folder.storage.write(FILE, json.dumps([study.to_dict() for study in learned]).encode())


def _read(folder: StudyFolder) -> list[LearnedStudy]:
    try:
        return [LearnedStudy.from_dict(each) for each in json.loads(folder.storage.read(FILE))]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StudyError(
            f"{folder}/{FILE}: damaged: {first_line(error)}; restore it, or start over with --fresh"
        ) from None


def _find(name: str, folder: StudyFolder) -> StudyResults:
    """Return the study of a name or path.

    Raises:
        StudyError: There is no such study, or it is the one in `folder`.
    """
    results, _, own = str(folder).rpartition("/")
    results = results or "."
    other = StudyFolder(name if is_url(name) or "/" in name else f"{results}/{name}")
    if str(other) == str(folder):
        raise StudyError(f"search.learn_from: '{name}' is this study; allowed: earlier ones")
    if not other.holds_a_study:
        names = [found.name for found in find_studies(results) if found.name != own]
        allowed = f"{suggest(name, names)}, or a path" if names else "allowed: the path of a study's folder"
        raise StudyError(f"search.learn_from: no study '{shorten(name)}' in {results}; {allowed}")
    return StudyResults(other, other.spec())


def _learn_from(name: str, other: StudyResults, spec: StudyConfig, fingerprint: str) -> LearnedStudy:
    """Read the trials of another study that fit this one's space."""
    searched = {key for key, one in spec.space.root.items() if not isinstance(one, Constant)}
    theirs = {key for key, one in other.spec.space.root.items() if not isinstance(one, Constant)}
    if not searched & theirs:
        raise StudyError(f"search.learn_from: '{name}' shares no parameter; {suggest('', searched)}")
    metric = spec.objective[0].metric
    values = reported_values(other.epochs, metric)
    if not values:
        raise StudyError(f"search.learn_from: '{name}' does not measure {metric}; allowed: studies that do")
    left_out: Counter[str] = Counter()
    trials = list(_fitting(other, spec, values, left_out))
    if not trials:
        reasons = ", ".join(f"{count} by {key}" for key, count in left_out.items())
        raise StudyError(f"search.learn_from: no trial of '{name}' lies in this space ({reasons})")
    is_same = _is_same_task(other, spec, fingerprint)
    ranked = sorted(trials, key=lambda one: _height(one, spec))
    kept = (*ranked[:GOOD_TRIALS], *spread(ranked[GOOD_TRIALS:], MOST_TRIALS - GOOD_TRIALS))
    read = len(trials) + left_out.total()
    return LearnedStudy(name, is_same, kept, read, dict(left_out), tuple(sorted(theirs - searched)))


def _fitting(
    other: StudyResults, spec: StudyConfig, values: Mapping[int, Mapping[int, float]], left_out: Counter[str]
) -> Iterator[LearnedTrial]:
    """Yield the trials that fit, and count the trials left out.

    `left_out` counts them by the parameter that does not fit.
    """
    rungs = set(rung_epochs(spec))
    trials = other.trials
    rows = trials[is_search(trials) & trials["number"].isin(values)].sort_values("number")
    for row in rows.to_dict("records"):
        drawn = parameters_from_row(other.spec.space, row)
        fitting = fit_parameters(spec.space, drawn, _settings(other.spec, drawn))
        if isinstance(fitting, str):
            left_out[fitting] += 1
            continue
        reported = values[row["number"]]
        told = {epoch: value for epoch, value in reported.items() if epoch in rungs or epoch == max(reported)}
        planned = spec.training_config(fitting).epochs
        yield LearnedTrial(fitting, told, row["state"] == "COMPLETE" and max(reported) == planned)


def _settings(spec: StudyConfig, drawn: Mapping[str, Any]) -> dict[str, Any]:
    """Return all settings of a trial, drawn or not.

    The defaults of its network are among them.
    """
    config = spec.training_config(drawn)
    return {**config.hyperparameters, **config.model_dump(mode="json"), **spec.training}


def _is_same_task(other: StudyResults, spec: StudyConfig, fingerprint: str) -> bool:
    """Return True if values of both studies can be compared.

    They have the same images and split, and the same constants.
    """
    try:
        images = (other.folder.identity() or {}).get("images")
    except ValueError:
        return False
    theirs, own = other.spec.to_dict(), spec.to_dict()
    names = [name for name in theirs["training"] if name in own["training"]]
    return (
        images == fingerprint
        and theirs["dataset"] == own["dataset"]
        and all(theirs["training"][name] == own["training"][name] for name in names)
        and theirs["objective"][0] == own["objective"][0]
    )


def _height(trial: LearnedTrial, spec: StudyConfig) -> tuple[int, float]:
    """Return a key that sorts the farthest and best trials first."""
    last = max(trial.values)
    return -last, -spec.objective[0].sign * trial.values[last]
