"""What a shell is told while a command is typed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import PATIENCE
from tuner.cli.completion import complete_study_file

PROGRAM = Path(sys.executable).with_name("tuner")


def complete(**environment: str) -> "subprocess.CompletedProcess[str]":
    """Call the program as a shell does. Each import is a line on standard error."""
    environment = {**os.environ, **environment, "PYTHONPROFILEIMPORTTIME": "1"}
    return subprocess.run([PROGRAM], env=environment, capture_output=True, text=True, timeout=PATIENCE)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for name in ("digits", "digits_2", "other", ".hidden"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "study.yaml").touch()
    (tmp_path / "dig").mkdir()
    return tmp_path


@pytest.mark.slow
def test_bash_completes_studies_without_heavy_imports(results: Path) -> None:
    asked = {"COMP_WORDS": "tuner compare other dig", "COMP_CWORD": "3"}
    done = complete(_TUNER_COMPLETE="complete_bash", TUNER_RESULTS=str(results), **asked)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert done.stdout.split() == ["digits", "digits_2"], done.stderr
    assert "typer" in imported
    assert not {"pandas", "ray", "torch", "optuna", "scipy"} & imported


@pytest.mark.slow
def test_zsh_completes_studies_of_an_option(results: Path) -> None:
    arguments = f"tuner show --results {results} o"
    done = complete(_TUNER_COMPLETE="complete_zsh", _TYPER_COMPLETE_ARGS=arguments)
    assert '"other"' in done.stdout
    assert "digits" not in done.stdout


def test_study_files_are_yaml_below_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("spaces/one.yaml", "spaces/two.yml", "spaces/notes.txt", "data/images.txt", ".git/a.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    assert complete_study_file("") == ["data/", "spaces/"]
    assert complete_study_file("sp") == ["spaces/one.yaml", "spaces/two.yml"]
    assert complete_study_file("spaces/o") == ["spaces/one.yaml"]
    assert complete_study_file("missing/") == complete_study_file("~nobody-of-this-name/") == []
