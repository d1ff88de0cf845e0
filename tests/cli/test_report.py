from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.studies import made_up_study
from tuner.cli.main import app
from tuner.data.cache import find_cached
from tuner.errors import DataError, StudyError

pytestmark = pytest.mark.usefixtures("without_library")
INVOKE = CliRunner().invoke


@pytest.fixture
def without_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the library of figures out of pages, because it takes seconds to bundle."""
    monkeypatch.setattr("tuner.report.document._library", str)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    made_up_study(tmp_path / "demo", 24)
    return tmp_path


@pytest.mark.slow
def test_report_writes_a_page_beside_the_user(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(results)
    before = sorted((results / "demo").rglob("*"))
    done = INVOKE(app, ["report", "demo", "--results", str(results)], catch_exceptions=False)
    assert done.output.startswith("Wrote demo.html (")
    assert "importance" in (results / "demo.html").read_text(encoding="utf-8")
    assert sorted((results / "demo").rglob("*")) == before


def test_report_refuses_an_unknown_study_and_a_missing_folder(results: Path) -> None:
    arguments = ["report", "demo", "--results", str(results), "--output", str(results / "no" / "page.html")]
    with pytest.raises(StudyError, match=r"--output: no folder .*no; allowed: a file in a folder that exists"):
        INVOKE(app, arguments, catch_exceptions=False)
    with pytest.raises(StudyError, match=r"--output: found 'page\.png'; allowed: a name \*\.html"):
        INVOKE(app, [*arguments[:-1], str(results / "page.png")], catch_exceptions=False)
    with pytest.raises(StudyError, match="no study 'dem'; did you mean 'demo'"):
        INVOKE(app, ["report", "dem", "--results", str(results)], catch_exceptions=False)


@pytest.mark.slow
def test_report_overwrites_reports_only(results: Path) -> None:
    arguments = ["report", "demo", "--results", str(results), "--output", str(results / "page.html")]
    for _ in range(2):
        assert INVOKE(app, arguments, catch_exceptions=False).exit_code == 0
    (results / "page.html").write_text("mine")
    (results / "folder.html").mkdir()
    for name in ("page.html", "folder.html"):
        with pytest.raises(StudyError, match=rf"{name} exists and is no report; nothing is overwritten but reports$"):
            INVOKE(app, [*arguments[:-1], str(results / name)], catch_exceptions=False)
    assert (results / "page.html").read_text() == "mine"


def test_images_of_another_machine_are_not_found(tmp_path: Path) -> None:
    for fingerprint in ("", "0123", "*"):
        with pytest.raises(DataError, match="the images of the study are not on this machine"):
            find_cached(fingerprint, tmp_path)
