"""Changes of a study's identity that are accepted when nothing is left to run."""

from pathlib import Path

from tuner import data, run_study
from tuner.config.study import StudyConfig, parse_spec
from tuner.results.folder import StudyFolder
from tuner.results.identity import identify
from tuner.results.tables import now


def digits(precision: str) -> StudyConfig:
    training = {"architecture": "vazquez_base", "precision": precision}
    return parse_spec({"study": "s", "dataset": {"name": "digits"}, "training": training, "space": {}})


def test_accepted_changes_leave_a_finished_study(tmp_path: Path) -> None:
    spec = digits("float32")
    folder = StudyFolder(tmp_path / "s")
    with folder.lock():
        folder.write_spec(spec)
        folder.write_identity(identify(spec, data.load(spec.dataset).fingerprint))
        tables = folder.tables(spec)
        row = {"study": "s", "number": 0, "attempt": 1, "state": "COMPLETE", "purpose": "search", "value": 0.5}
        tables.append("trials", {**row, "updated_at": now()})
        tables.flush()
    before = folder.storage.read("study.yaml"), folder.identity()
    run_study(digits("bfloat16"), tmp_path, accept_changes=True)
    assert (folder.storage.read("study.yaml"), folder.identity()) == before
