"""Models of a study: the final one, or a trial's from its kept weights."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from tuner import data
from tuner.analysis.formatting import is_missing
from tuner.config.study import StudyConfig
from tuner.config.training import Evaluate
from tuner.data.device import DeviceDataset
from tuner.errors import StudyError, UserError, first_line
from tuner.results.folder import StudyResults
from tuner.results.identity import identify, refuse_edited
from tuner.results.provenance import package_versions
from tuner.results.ranking import rank
from tuner.results.schema import parameters_from_row
from tuner.storage import is_url
from tuner.training.export import hash_state
from tuner.training.graph import FoldMean
from tuner.training.image_model import About, Origin
from tuner.training.precision import Precision
from tuner.training.saved_model import ABOUT, SavedModel, build, describe, fit, load_folder

MOST_ASKED = 30
"""Best trials that are asked for kept weights, because each one of an object store takes time."""
TOLERANCE = 0.005
"""Largest difference of an accuracy from the recorded one, because another device rounds otherwise."""


def load_best(study: StudyResults, trial: int | None, root: Path | None) -> SavedModel:
    """Load the final model of a study, or else its best trial.

    Args:
        study: The study.
        trial: The trial. None: the final model, or else `study.best`.
        root: Folder in which data sets are searched first.

    Raises:
        StudyError: No weights of the trial were kept, or they give other results than recorded.
        DataError: The images are missing or broken.
    """
    if trial is None and (folder := final_folder(study)):
        return load_folder(folder, torch.device("cpu"))
    return load_kept(study, int(study.best["number"]) if trial is None else trial, root)


def final_folder(study: StudyResults) -> Path | None:
    """Return the folder of a study's final model, the first of several."""
    if is_url(str(study.folder)):
        return None
    folders = (Path(str(study.folder), *below) for below in (("model",), ("model", "1")))
    return next((folder for folder in folders if (folder / ABOUT).is_file()), None)


def load_kept(study: StudyResults, number: int, root: Path | None) -> SavedModel:
    """Load a trial's network, and check it on the validation images.

    The networks of several folds become one, the mean of their probabilities.

    Raises:
        StudyError: The trial kept no weights, they are damaged, or give other results than recorded.
        DataError: The images are missing or broken.
    """
    row = study.trial(number)
    states = _read_states(study, number)
    dataset = data.load(study.spec.dataset, root)
    refuse_edited(str(study.folder), identify(study.spec, dataset.fingerprint), "since the study ran")
    folds = DeviceDataset.open_folds(dataset, study.spec.dataset)
    if len(folds) != len(states):
        raise StudyError(f"{study.folder}: trial {number} kept {len(states)} networks; expected: {len(folds)}")
    members = [_member(study, row, fold, state, dataset.fingerprint) for fold, state in zip(folds, states, strict=True)]
    _check_accuracy(study, row, members, folds)
    return members[0] if len(members) == 1 else _join(members)


def _read_states(study: StudyResults, number: int) -> list[dict[str, Tensor]]:
    """Read the kept weights of a trial, one network per fold."""
    storage, name = study.folder.storage, study.folder.weights(number)
    try:
        kept = torch.load(io.BytesIO(storage.read(name)), weights_only=True, map_location="cpu")
    except FileNotFoundError:
        raise StudyError(_no_weights(study, number)) from None
    except UserError:
        raise
    except Exception as error:  # because torch raises errors of any type on damaged files
        raise StudyError(f"{storage.path(name)}: damaged: {first_line(error)}; {_remedy(study)}") from error
    states: list[dict[str, Tensor]] = kept["folds"] if isinstance(kept.get("folds"), list) else [kept]
    return states


def _no_weights(study: StudyResults, number: int) -> str:
    """Word the refusal of a trial without weights."""
    storage = study.folder.storage
    complete = [int(other) for other in rank(study.spec, study.trials)["number"].head(MOST_ASKED)]
    kept = storage.each(storage.exists, [study.folder.weights(other) for other in complete])
    names = ", ".join(str(other) for other, is_kept in zip(complete, kept, strict=True) if is_kept)
    others = f"allowed: --trial {names}; or " if names else ""
    remedy = f"{others}{_remedy(study)}" if complete else "allowed: a trial that is complete, and none is yet"
    return f"{study.folder}: no weights of trial {number} were kept; {remedy}"


def _remedy(study: StudyResults) -> str:
    return f"`tuner final {study.spec.study}` trains a model"


def _member(
    study: StudyResults, row: Mapping[Any, Any], images: DeviceDataset, state: dict[str, Tensor], fingerprint: str
) -> SavedModel:
    """Build one network of a trial, and fill it with its weights."""
    config = study.spec.training_config(parameters_from_row(study.spec.space, row))
    words = str(row["device"]).split()
    about = describe(
        config,
        images.scaled_for(config.architecture),
        seed=int(row["seed"]),
        device=words[0].partition(":")[0],
        precision=Precision("bf16" in words, words[0] == "cpu" or "channels_last" in words),
        weights=hash_state(state),
        origin=_origin(study.spec, row, images, fingerprint),
    )
    place = f"{study.folder}: trial {row['number']}"
    network = build(Path(str(study.folder)), about)
    fit(network, state, place)
    return SavedModel(about, network, torch.device("cpu"))


def _origin(spec: StudyConfig, row: Mapping[Any, Any], images: DeviceDataset, fingerprint: str) -> Origin:
    tested = {name: None if is_missing(row[name]) else float(row[name]) for name in ("test_loss", "test_accuracy")}
    return Origin(
        study=spec.study,
        trial=int(row["number"]),
        protocol=spec.protocol,
        dataset={"fingerprint": fingerprint, **spec.dataset.model_dump(mode="json")},
        images={"training": len(images.train), "test": len(images.test)},
        test=tested,
        versions=package_versions(),
    )


def _check_accuracy(
    study: StudyResults, row: Mapping[Any, Any], members: Sequence[SavedModel], folds: Sequence[DeviceDataset]
) -> None:
    """Refuse networks whose validation accuracy is not the recorded one.

    Evaluations in training mode cannot be compared, because `predict` never uses that mode.
    """
    spec = study.spec
    config = spec.training_config(parameters_from_row(spec.space, row))
    if config.evaluate != Evaluate() or is_missing(row["val_accuracy"]):
        return
    found = fmean(_accuracy(member, fold) for member, fold in zip(members, folds, strict=True))
    recorded, images = float(row["val_accuracy"]), min(len(fold.validation) for fold in folds)
    if abs(found - recorded) > max(TOLERANCE, 2 / images):
        hint = "earlier versions kept them without `ema`; " if config.ema else ""
        raise StudyError(
            f"{study.folder}: the kept weights of trial {row['number']} have val_accuracy {found:.4f}, but"
            f" {recorded:.4f} is recorded; {hint}{_remedy(study)}"
        )


def _accuracy(model: SavedModel, images: DeviceDataset) -> float:
    """Return the accuracy on the validation images, read in batches."""
    steps = torch.split(torch.arange(len(images.validation)), 1000)
    batches = images.validation.batches(steps)
    correct = sum(int((model.predict(pixels).argmax(1) == labels).sum()) for pixels, labels in batches)
    return correct / len(images.validation)


def _join(members: Sequence[SavedModel]) -> SavedModel:
    """Make one model of the networks of all folds."""
    first, channels = members[0].about, members[0].about.channels
    about: About = first.model_copy(
        update={"folds": len(members), "scale": (1.0,) * channels, "offset": (0.0,) * channels}
    )
    network = FoldMean(
        [member.network for member in members],
        [member.scale for member in members],
        [member.offset for member in members],
    )
    return SavedModel(about, network, torch.device("cpu"))
