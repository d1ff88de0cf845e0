"""What five published reports printed, as data: `<report>.csv`, a line a number.

A line names its place in the report (`table`, `row`, `quantity`), the number as printed (`reported`, empty where the
report measured nothing) with its `unit`, and its `source`; then where the number is measured here: the `study`, the
parameters of its trial (`trial`: `learning_rate=0.01 epochs=5`), the `epoch` and `step` (`all`: each logged line of the
epoch), the `metric`, and the `scale` that turns the metric into the unit. `images.csv` says which images a fingerprint
stands for.
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
"""The reports by name, and what each is about."""

PROTOCOLS: Mapping[str, str] = {"as_published": "", "clean": "_clean"}
"""The two ways to run a report's studies, and what the names of the studies end in."""

_HERE = Path(__file__).parent
_STUDY_FILES = (_HERE / "studies", _HERE.parents[2] / "search_spaces" / "published")  # in a wheel, in a checkout


def lines(name: str, protocol: str = "as_published") -> pd.DataFrame:
    """The numbers of a report in its own order, a row a number and study that measures it.

    Columns: those of the file as text, with `scale` as a number, `epoch` as a whole number (missing: the end of the
    trial), `study` as the protocol names it (empty: no training is needed) and `decimals`, the most digits that the
    report prints after the point in this quantity of this table (2 where it prints nothing). Where several studies may
    have been meant, `table` ends in the study's name.

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
    """The study that follows another protocol; the study itself where it has no twin, being clean as it is."""
    return study + ending if study_file(study + ending).exists() else study


def _check(found: str, place: str, known: Mapping[str, str]) -> None:
    if found not in known:
        raise UserError(f"{place} '{found}'; {suggest(found, known)}")


def studies(name: str, protocol: str = "as_published") -> list[str]:
    """Names of the studies that a report's numbers come from, in the order of the report."""
    return [study for study in lines(name, protocol)["study"].unique() if study]


def study_file(study: str) -> Path:
    """Where the file of a published study lies, in an installed package as in a checkout."""
    places = [folder / f"{study}.yaml" for folder in _STUDY_FILES]
    return next((place for place in places if place.exists()), places[-1])


def load_study_file(study: str, seeds: int | None = None) -> StudyConfig:
    """The published study of this name.

    Args:
        study: One of `studies()`.
        seeds: Train each configuration with so many seeds; None: as the file says.

    Raises:
        SpecError: There is no such file, or it does not say a runnable study.
    """
    again = "null" if seeds == 1 else f"{{top: all, seeds: {(seeds or 1) - 1}}}"
    return load_spec(study_file(study), [] if seeds is None else [f"repeats={again}"])


def images(dataset: Mapping[str, str]) -> str:
    """Which images a study saw, from the `dataset` of its provenance: a copy that is known, or the fingerprint."""
    known, fingerprint = _known_images(), dataset["fingerprint"]
    return known.get(fingerprint) or f"{dataset['name']}, a copy that is not known here (fingerprint {fingerprint})"


@cache
def _known_images() -> dict[str, str]:
    frame = pd.read_csv(_HERE / "images.csv", dtype=str)
    return dict(zip(frame["fingerprint"], frame["images"], strict=True))
