"""Refusals and comparisons of a trial that is trained again. `test_run` trains for real."""

from pathlib import Path

import pytest

from tuner.config.study import parse_spec
from tuner.errors import StudyError
from tuner.results.folder import StudyFolder, load_study
from tuner.results.tables import now
from tuner.study.rerun import MEASURED, Difference, Rerun, rerun


def test_rerun_needs_a_recorded_epoch(tmp_path: Path) -> None:
    spec = parse_spec({"study": "demo", "training": {"architecture": "vazquez_base"}, "space": {}})
    folder = StudyFolder(tmp_path / "demo")
    folder.write_spec(spec)
    tables = folder.tables(spec)
    tables.append("trials", {"study": "demo", "number": 3, "attempt": 1, "state": "RUNNING", "updated_at": now()})
    tables.flush()
    study = load_study(tmp_path / "demo")
    with pytest.raises(StudyError, match=r"demo: trial 3 has no epoch to compare; it is RUNNING$"):
        rerun(study, 3)
    with pytest.raises(StudyError, match=r"demo: no trial 4; did you mean 3\? allowed: 3 to 3$"):
        rerun(study, 4)


def test_rerun_compares_every_measurement_but_times() -> None:
    assert {"train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_f1", "learning_rate"} <= set(MEASURED)
    assert not {"seconds", "train_seconds", "images_per_second", "at"} & set(MEASURED)


def test_rerun_that_failed_is_not_the_same() -> None:
    assert Rerun(2, 10, [], None, []).is_same
    assert not Rerun(2, 5, [], "the loss is NaN", []).is_same
    assert not Rerun(2, 10, [Difference(1, "val_loss", 0.5, 0.25)], None, []).is_same
