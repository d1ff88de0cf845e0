"""Numbers of five published reports as data: `<report>.csv` with one line per number.

Columns of the report: `table`, `row` and `quantity` name the number, `reported` is the number as
printed with its `unit` (empty where the report measured nothing), and `source` is its page or table.
Columns of the measurement: `study`, `trial` (parameters, `learning_rate=0.01 epochs=5`), `epoch`,
`step` (`all`: each logged line of the epoch), `metric`, and the `scale` from metric to unit.
`images.csv` names the images behind each fingerprint.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pandas as pd

from tuner.config.study import StudyConfig, load_spec
from tuner.errors import UserError, suggest

REPORTS: Mapping[str, str] = {
    "vazquez": "report 001 (Vázquez), four experiments on CIFAR-10",
    "higueros": "report 003 (Higueros and Velásquez), LeNet-5 on MNIST and AlexNet on CIFAR-10",
    "rubio": "report 004 (Rubio), a small and a large network on CIFAR-10",
    "tinoco": "report 000 (Tinoco), LeNet-5 on MNIST, or on Fashion-MNIST",
    "cesar": "report 002 (Bruno César), LeNet-5 as a lecture",
}
"""The reports by name, and their subjects."""

PROTOCOLS: Mapping[str, str] = {"as_published": "", "clean": "_clean"}
"""Protocols of a report's studies, and the endings of the studies' names."""

_HERE = Path(__file__).parent
_STUDY_FILES = (_HERE / "studies", _HERE.parents[2] / "search_spaces" / "published")  # in a wheel, in a checkout


def lines(name: str, protocol: str = "as_published") -> pd.DataFrame:
    """Return the numbers of a report, one row per number and study.

    Rows have the order of the report. Columns are those of the file as text, except:

    - `scale`: a number.
    - `epoch`: a whole number. Missing: the end of the trial.
    - `study`: the study of this protocol. Empty: no training is needed.
    - `decimals`: the most digits after the point in this quantity of this table. 2 if it is empty.
    - `table`: ends in the study's name if several studies may have been meant.

    Args:
        name: One of `REPORTS`.
        protocol: One of `PROTOCOLS`.

    Raises:
        UserError: There is no such report or protocol.
    """
    _check(name, "reproduce: no report", REPORTS)
    _check(protocol, "--protocol: found", PROTOCOLS)
    frame = pd.read_csv(_HERE / f"{name}.csv", dtype=str, keep_default_na=False)
    several = frame["study"].str.contains(" ")
    frame["study"] = frame["study"].str.split(" ")
    frame = frame.explode("study")
    frame["study"] = frame["study"].map(lambda study: _twin(study, PROTOCOLS[protocol]))
    frame["table"] = frame["table"].where(~several, frame["table"] + ": " + frame["study"])
    frame["scale"] = pd.to_numeric(frame["scale"])
    frame["epoch"] = pd.to_numeric(frame["epoch"]).astype("Int64")
    printed = frame["reported"].str.partition(".")[2].str.len().where(frame["reported"] != "")
    most = printed.groupby([frame["table"], frame["quantity"]]).transform("max")
    frame["decimals"] = most.fillna(2).astype(int)
    return frame.reset_index(drop=True)


def _twin(study: str, ending: str) -> str:
    """Return the twin of a study, or the study if none exists."""
    return study + ending if study_file(study + ending).exists() else study


def _check(found: str, message: str, known: Mapping[str, str]) -> None:
    """Raise UserError if a name is not known."""
    if found not in known:
        raise UserError(f"{message} '{found}'; {suggest(found, known)}")


def studies(name: str, protocol: str = "as_published") -> list[str]:
    """Return the studies behind a report's numbers, in its order."""
    return [study for study in lines(name, protocol)["study"].unique() if study]


def study_file(study: str) -> Path:
    """Return the path of a published study's file."""
    paths = [folder / f"{study}.yaml" for folder in _STUDY_FILES]
    return next((path for path in paths if path.exists()), paths[-1])


def load_study_file(study: str, seeds: int | None = None) -> StudyConfig:
    """Load the published study of this name.

    Args:
        study: One of `studies()`.
        seeds: Seeds of each configuration. None: as in the file.

    Raises:
        SpecError: The file is missing or not valid.
    """
    again = "null" if seeds == 1 else f"{{top: all, seeds: {(seeds or 1) - 1}}}"
    return load_spec(study_file(study), [] if seeds is None else [f"repeats={again}"])


def images(dataset: Mapping[str, str]) -> str:
    """Name the images of a study, unknown images by their fingerprint."""
    known, fingerprint = _known_images(), dataset["fingerprint"]
    return known.get(fingerprint) or f"{dataset['name']}, a copy that is not known here (fingerprint {fingerprint})"


@cache
def _known_images() -> dict[str, str]:
    frame = pd.read_csv(_HERE / "images.csv", dtype=str)
    return dict(zip(frame["fingerprint"], frame["images"], strict=True))
