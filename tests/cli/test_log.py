"""The command that logs a study after the fact."""

from pathlib import Path

import pytest

from tests.search.test_searcher import Driven, study
from tests.support.trial_logs import expected, read, read_event_files
from tuner.cli.log import log
from tuner.errors import StudyError
from tuner.results.folder import StudyFolder
from tuner.storage import local
from tuner.storage.lock import hold


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    spec = study(trials=2)
    folder = tmp_path / "s"
    StudyFolder(folder).write_spec(spec)
    Driven(spec, folder).run().tables.flush()
    return folder


def test_log_completes_the_named_log(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log(str(folder), ["tensorboard"])
    assert read("tensorboard", folder) == expected("tensorboard", study(), folder)
    assert capsys.readouterr().out == f"tensorboard: {folder / 'tensorboard'}\n"


def test_log_takes_another_place(folder: Path, tmp_path: Path) -> None:
    log(str(folder), [f"tensorboard={tmp_path / 'runs'}"])
    assert read_event_files(tmp_path / "runs" / "s") == expected("tensorboard", study(), folder)
    assert not (folder / "tensorboard").exists()


@pytest.mark.parametrize(
    ("to", "said"),
    [
        (None, "log_to is empty; allowed: --to tensorboard or --to mlflow"),
        (["mlflo"], "--to: no log 'mlflo'; did you mean 'mlflow'? allowed: mlflow, tensorboard"),
        (["mlflow=here"], "--to: mlflow: found 'here'; allowed: a URI such as"),
        (["tensorboard=/dev/null/runs"], "tensorboard: NotADirectoryError"),
    ],
    ids=["nothing", "misspelt", "no-uri", "no-folder"],
)
def test_log_refuses_in_one_line(to: list[str] | None, said: str, folder: Path) -> None:
    with pytest.raises(StudyError) as refusal:
        log(str(folder), to)
    (line,) = str(refusal.value).splitlines()
    assert said in line


def test_log_leaves_a_running_study_alone(folder: Path) -> None:
    with hold(local.Storage(folder)), pytest.raises(StudyError, match="is being run by process"):
        log(str(folder), ["tensorboard"])
    assert not (folder / "tensorboard").exists()
