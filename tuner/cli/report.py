"""`report`: one HTML page of a study, or of several."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli.completion import complete_study
from tuner.cli.options import Results
from tuner.cli.show import read_study
from tuner.cli.tables import DEFAULT_RESULTS, out
from tuner.errors import DataError, StudyError, UserError, first_line
from tuner.storage import open_storage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tuner.data.dataset import Dataset
    from tuner.report import Extras
    from tuner.results.folder import StudyResults

MARK = b'<meta name="generator" content="tuner">'
"""Line near the beginning of every page, by which an earlier one is known."""
WEIGHED = 250
"""Trials at most behind the importance of parameters, because fANOVA's time grows with them."""
Studies = Annotated[
    list[str],
    typer.Argument(
        metavar="STUDY…", help="Names of studies, or paths of their folders.", autocompletion=complete_study
    ),
]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="The file to write, instead of STUDY.html.")]


def report(studies: Studies, output: Output = None, results: Results = DEFAULT_RESULTS) -> None:
    """Write a study as one HTML page, or compare several on one."""
    from tuner.report import page

    loaded = [read_study(study, results) for study in studies]
    path = output or Path("-".join(dict.fromkeys(study.folder.name for study in loaded))[:200] + ".html")
    _check_target(path)
    written = page(loaded, [gather_extras(study) for study in loaded]).encode()
    _check_target(path)
    open_storage(path.parent).write(path.name, written)
    out.print(f"Wrote {path} ({len(written) / 1e6:.1f} MB)", soft_wrap=True, markup=False)


def _check_target(path: Path) -> None:
    """Refuse a path where no page can be written.

    Only an earlier page may be overwritten.
    """
    if path.suffix != ".html":
        raise StudyError(f"--output: found '{path.name}'; allowed: a name *.html")
    if not path.parent.is_dir():
        raise StudyError(f"--output: no folder {path.parent}; allowed: a file in a folder that exists")
    if path.is_dir() or (path.exists() and MARK not in path.read_bytes()[:1000]):
        raise StudyError(f"--output: {path} exists and is no report; nothing is overwritten but reports")


def gather_extras(study: "StudyResults") -> "Extras":
    """Find what a page shows beside the tables.

    These are the importance of parameters, the names of classes, and pictures.
    """
    from tuner.analysis.sampling import spread
    from tuner.report import Extras, data_uri, pictured
    from tuner.search.importance import importance

    trials = study.trials[spread(study.trials["number"]).rank() <= WEIGHED]
    shares = importance(study.spec, trials, study.epochs)
    fewer = f" A fair sample of {WEIGHED} trials is weighed." if len(trials) < len(study.trials) else ""
    note = "Too few trials have a value to weigh the parameters."
    if not shares.empty:
        note = f"Trials are compared after epoch 1.{fewer}"
    split, wanted = pictured(study)
    if not wanted:
        return Extras(shares, note)
    try:
        dataset = _find_dataset(study)
        images = _images(dataset, study, split)
        pictures = {index: data_uri(images[index]) for index in wanted if index < len(images)}
    except UserError as error:
        return Extras(shares, note, no_pictures=f"There are no pictures here: {first_line(error)}.")
    return Extras(shares, note, dataset.classes, pictures)


def _find_dataset(study: "StudyResults") -> "Dataset":
    """Open the images of a study's last run from the cache.

    Raise DataError if they are not decoded on this machine.
    """
    from tuner.data.cache import find_cached

    runs = study.folder.provenance().get("runs") or [{}]
    recorded = runs[-1].get("dataset")
    return find_cached(str((recorded or {}).get("fingerprint") or ""))


def _images(dataset: "Dataset", study: "StudyResults", split: str) -> "NDArray[np.uint8]":
    """Return the images of a split in the order of its predictions."""
    from tuner.data.splits import split as split_images

    if split == "test":
        return dataset.test_images
    parts = split_images(dataset, study.spec.dataset)
    if parts.validation_is_test:
        return dataset.test_images
    if study.spec.dataset.folds > 1:
        raise DataError("the images of folds are not kept in one order")
    return dataset.train_images[parts.validation]
