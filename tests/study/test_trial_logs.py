"""Logs of trials, read back by TensorBoard and MLflow, against the tables."""

import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.search.test_searcher import Driven, study
from tests.support.trial_logs import expected, read, read_event_files, read_groups
from tuner.config.study import StudyConfig
from tuner.errors import SpecError
from tuner.results.folder import StudyFolder
from tuner.results.schema import FINISHED
from tuner.results.tables import now
from tuner.study import trial_logs
from tuner.study.process import unchanged_process
from tuner.study.trial_logs import Follower, Row, catch_up, following, make_logs

LOGS = ["tensorboard", pytest.param("mlflow", marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database without experiments, because MLflow takes seconds to make one."""
    from tuner.study.mlflow_log import _connect

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    with unchanged_process():
        _connect(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(autouse=True)
def quiet_process(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if "mlflow" in request.node.name:
        shutil.copy(request.getfixturevalue("empty_store"), tmp_path / "mlflow.db")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with unchanged_process():
        yield


def spec_of(log: str, trials: int = 4, **changes: Any) -> StudyConfig:
    return study(trials=trials, log_to=[log], **changes)


def run(driven: Driven, calls: int = 10_000) -> Driven:
    """Go on with a study whose logs are followed."""
    with following(driven.searcher.spec, StudyFolder(driven.tables.storage.root), driven.tables):
        driven.run(calls)
        driven.tables.flush()
    return driven


def begin(spec: StudyConfig, folder: Path) -> Driven:
    StudyFolder(folder).write_provenance({"runs": [{"started_at": now().isoformat()}]})
    return Driven(spec, folder)


@pytest.mark.parametrize("log", LOGS)
def test_log_equals_the_tables_of_a_study(log: str, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    run(begin(spec_of(log), folder))
    logged = read(log, folder)
    assert logged == expected(log, study(), folder)
    assert {fate for _, _, fate in logged.values()} == {"FINISHED", "KILLED", "FAILED"}
    assert logged[0][0][("val_accuracy", 3)] > 0


def test_repeats_share_a_group_in_tensorboard(tmp_path: Path) -> None:
    driven = run(begin(spec_of("tensorboard", trials=1, repeats={"top": 1, "seeds": 2}), tmp_path / "s"))
    assert driven.tables.trials()["repeat_of"].tolist()[1:] == [0, 0]
    assert read_groups(tmp_path / "s" / "tensorboard") == ["trial-00000"] * 3


@pytest.mark.parametrize("log", LOGS)
@pytest.mark.slow
def test_killed_studies_neither_lose_nor_double_points(log: str, tmp_path: Path) -> None:
    """Kill it with rows that the log lacks, with a half-written log, and with points whose rows are lost."""
    folder = tmp_path / "s"
    driven = run(begin(spec_of(log), folder), 5)
    driven = driven.killed().run(4)  # whose rows reach the tables and not the log
    driven.tables.flush()
    driven = run(driven.killed(), 4)
    damage(log, folder)
    driven = run(driven.killed(), 3)
    assert read(log, folder) == expected(log, study(), folder)
    assert driven.live
    run(driven.killed())
    logged = read(log, folder)
    assert logged == expected(log, study(), folder)
    assert len(logged) == 4


def damage(log: str, folder: Path) -> None:
    """Leave the log of a trial in flight as a kill does."""
    if log == "tensorboard":
        open_ = next(path for path in sorted(folder.glob("tensorboard/trial-*")) if not (path / "whole.json").exists())
        (file,) = open_.glob("events.out.tfevents.*")
        file.write_bytes(file.read_bytes()[:-7])
        return
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder.parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("s").experiment_id
    found = next(each for each in client.search_runs([experiment]) if each.info.status == "RUNNING")
    client.log_metric(found.info.run_id, "val_accuracy", 0.123, step=99)


@pytest.mark.parametrize("log", LOGS)
@pytest.mark.slow
def test_finished_studies_are_logged_after_the_fact(log: str, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    begin(study(trials=4), folder).run().tables.flush()
    for _ in range(2):
        catch_up(spec_of(log), StudyFolder(folder))
        assert read(log, folder) == expected(log, study(), folder)


@pytest.mark.parametrize("log", LOGS)
@pytest.mark.slow
def test_retries_that_repeat_epochs_replace_them(log: str, tmp_path: Path) -> None:
    folder, spec = StudyFolder(tmp_path / "s"), spec_of(log)
    begin(spec, tmp_path / "s")
    tables = folder.tables(spec)

    def trial(attempt: int, state: str, **cells: Any) -> None:
        row = {"study": "s", "number": 0, "attempt": attempt, "state": state, "updated_at": now()}
        tables.append("trials", row | {"purpose": "search", "param_batch_size": 64, **cells})
        tables.flush()

    def epoch(attempt: int, epoch: int, value: float) -> None:
        row = {"study": "s", "number": 0, "attempt": attempt, "epoch": epoch, "val_accuracy": value, "at": now()}
        tables.append("epochs", row)
        tables.flush()

    with following(spec, folder, tables):
        trial(1, "RUNNING")
        for at, value in ((1, 0.1), (2, 0.2), (3, 0.3)):
            epoch(1, at, value)
        trial(1, "FAILED", error="crashed <b>\n")
        trial(2, "RUNNING")
        for at, value in ((1, 0.15), (2, 0.25)):
            epoch(2, at, value)
    assert read(log, tmp_path / "s") == expected(log, study(), tmp_path / "s")
    with following(spec, folder, tables):
        trial(2, "COMPLETE", test_accuracy=0.5, epochs_run=2)
    points, _, fate = read(log, tmp_path / "s")[0]
    assert fate == "FINISHED"
    assert points[("test_accuracy", 2)] == 0.5
    assert points[("val_accuracy", 1)] == pytest.approx(0.15)
    with following(spec, folder, tables):
        trial(3, "RUNNING")  # as with --retry-failed
        epoch(3, 1, 0.17)
    assert read(log, tmp_path / "s") == expected(log, study(), tmp_path / "s")


@pytest.mark.parametrize("log", LOGS)
@pytest.mark.slow
def test_fresh_studies_of_one_name_have_their_own_runs(log: str, tmp_path: Path) -> None:
    folder, place = tmp_path / "s", tmp_path / "runs"
    spec = study(trials=2, log_to={log: str(place) if log == "tensorboard" else f"sqlite:///{tmp_path / 'mlflow.db'}"})
    run(begin(spec, folder))
    shutil.rmtree(folder)
    run(begin(spec.model_copy(update={"search": spec.search.model_copy(update={"seed": 9})}), folder))
    if log == "tensorboard":
        earlier, later = sorted(place.iterdir(), key=lambda path: len(path.name), reverse=True)
        assert (later.name, earlier.name[:8]) == ("s", "s.until-")
        assert read_event_files(later) == expected(log, study(), folder)
        assert len(read_event_files(earlier)) == 2
        return
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("s").experiment_id])
    assert len(runs) == 4
    assert len({found.data.tags["tuner.begun"] for found in runs}) == 2


class Failing:
    """A log that cannot be opened at first, and fails at some rows."""

    name, place = "tensorboard", "nowhere"

    def __init__(self, failures: int) -> None:
        self.failures, self.opened = failures, 0
        self.epochs: dict[int, set[int]] = {}
        self.fates: dict[int, str] = {}

    def open(self) -> None:
        self.opened += 1
        self._fail()

    def _fail(self) -> None:
        self.failures -= 1
        if self.failures >= 0:
            raise OSError("no space left")

    def is_whole(self, row: Row) -> bool:
        return row["number"] in self.fates

    def write(self, row: Row, epochs: trial_logs.Points) -> None:
        self.epochs[row["number"]] = {*epochs}

    def append(self, row: Row, epochs: trial_logs.Points) -> None:
        self._fail()
        self.epochs[row["number"]] |= {*epochs}

    def end(self, row: Row) -> None:
        self.fates[row["number"]] = row["state"]


@pytest.mark.parametrize("most", [trial_logs.MOST_WAITING, 0], ids=["fails", "is-slow"])
@pytest.mark.slow
def test_log_that_fails_warns_once_and_is_completed(most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Failing(failures=3)
    monkeypatch.setattr(trial_logs, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(trial_logs, "MOST_WAITING", most)
    monkeypatch.setattr(trial_logs, "make_logs", lambda *_: [log])
    said = []
    monkeypatch.setattr(warnings, "warn", lambda text, **_: said.append(text))
    driven = run(begin(spec_of("tensorboard"), tmp_path / "s"))
    log.failures = 0
    Follower(log, driven.searcher.spec, StudyFolder(tmp_path / "s")).complete()
    trials = driven.tables.trials()
    assert trials["state"].isin(FINISHED).all()
    assert log.fates == dict(zip(trials["number"], trials["state"], strict=True))
    counts = driven.tables.epochs().groupby("number")["epoch"].agg(set).to_dict()
    assert {number: epochs for number, epochs in log.epochs.items() if epochs} == counts
    assert len(said) == 1
    assert "log_to.tensorboard: OSError: no space left; the study goes on" in said[0]


def test_rows_that_a_log_has_already_change_nothing(tmp_path: Path) -> None:
    driven = begin(study(trials=4), tmp_path / "s").run()
    driven.tables.flush()
    log = Failing(0)
    follower = Follower(log, driven.searcher.spec, StudyFolder(tmp_path / "s"))
    follower.complete()
    before = {number: set(epochs) for number, epochs in log.epochs.items()}
    (row,) = driven.tables.history("trials").head(1).to_dict("records")
    (epoch,) = driven.tables.epochs().tail(1).to_dict("records")
    follower._add([("trials", [row]), ("epochs", [epoch])])
    assert log.epochs == before
    assert not follower._open


def test_hanging_log_does_not_hold_up_a_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    release = threading.Event()
    log = Failing(0)
    log.open = release.wait  # type: ignore[method-assign, assignment]
    monkeypatch.setattr(trial_logs, "CLOSE_SECONDS", 0.01)
    monkeypatch.setattr(trial_logs, "make_logs", lambda *_: [log])
    with pytest.warns(UserWarning, match="it took longer than"):
        run(begin(spec_of("tensorboard", trials=1), tmp_path / "s"))
    release.set()


@pytest.mark.parametrize(
    ("log_to", "root", "said"),
    [
        (["tensorboard"], "s3://b/results/s", "log_to: tensorboard cannot be in an object store; name its place"),
        (["mlflow"], "s3://b/results/s", "log_to: mlflow cannot be in an object store; name its place: {mlflow: URI}"),
    ],
    ids=["tensorboard", "mlflow"],
)
@pytest.mark.slow
def test_object_stores_need_a_named_place(log_to: list[str], root: str, said: str) -> None:
    with pytest.raises(SpecError, match=said.replace("{", r"\{")):
        make_logs(study(log_to=log_to), StudyFolder(root))


@pytest.mark.parametrize("log", LOGS)
def test_missing_package_is_named_with_its_remedy(log: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing: Callable[[str], None] = lambda _: None  # noqa: E731
    monkeypatch.setattr(trial_logs, "find_spec", missing)
    with pytest.raises(SpecError, match=rf"log_to: {log} is not installed; pip install 'tuner\[{log}\]'"):
        make_logs(spec_of(log), StudyFolder(tmp_path))


def test_folder_of_something_else_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "runs" / "s").mkdir(parents=True)
    (tmp_path / "runs" / "s" / "mine.txt").touch()
    spec = study(trials=1, log_to={"tensorboard": str(tmp_path / "runs")})
    with pytest.warns(UserWarning, match="holds other files; name another folder in log_to"):
        run(begin(spec, tmp_path / "s"))
    assert [path.name for path in (tmp_path / "runs" / "s").iterdir()] == ["mine.txt"]
