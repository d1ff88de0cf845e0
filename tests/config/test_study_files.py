"""Study files of the project: all are valid, and every published one has a clean twin."""

from pathlib import Path
from typing import Any

import pytest

from tuner.config.study import StudyConfig, load_spec

FOLDER = Path(__file__).parents[2] / "search_spaces"
FILES = sorted(FOLDER.rglob("*.yaml"))
AS_PUBLISHED = [file for file in FILES if load_spec(file).protocol == "as_published"]


def without(spec: StudyConfig, *places: str) -> dict[str, Any]:
    """A study as plain values, some of them taken out: 'dataset.validation'."""
    plain = spec.to_dict()
    for place in places:
        *groups, key = place.split(".")
        inner = plain
        for group in groups:
            inner = inner[group]
        inner.pop(key, None)
    return plain


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_study_file_is_named_after_its_study(file: Path) -> None:
    assert load_spec(file).study == file.stem


@pytest.mark.parametrize("file", AS_PUBLISHED, ids=lambda file: file.stem)
def test_clean_twin_differs_only_in_what_chooses(file: Path) -> None:
    published, clean = load_spec(file), load_spec(file.with_stem(f"{file.stem}_clean"))
    other = ("study", "protocol", "dataset.validation", "training.evaluate", "repeats")
    assert without(clean, *other) == without(published, *other)
    assert clean.protocol == "clean"
    assert isinstance(clean.dataset.validation, int)
    assert clean.training["evaluate"] == {"batch_norm": "eval", "augment": False}


def test_published_studies_are_published_clean_or_neutral() -> None:
    twins = {f"{file.stem}_clean" for file in AS_PUBLISHED}
    stems = {file.stem for file in (FOLDER / "published").iterdir()}
    assert stems - twins - {file.stem for file in AS_PUBLISHED} == {"cesar"}
    assert len(AS_PUBLISHED) == 9
