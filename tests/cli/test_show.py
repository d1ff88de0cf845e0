"""The tables of `show` and `ls`, over the committed search."""

import re
from pathlib import Path

import pytest

import tuner
from tests.support.studies import trial_row, write_study
from tuner.analysis.formatting import is_missing
from tuner.cli.compare import compare
from tuner.cli.show import best
from tuner.cli.tables import show_studies, show_study
from tuner.errors import StudyError
from tuner.results.folder import StudyFolder

CIFAR = Path(__file__).parents[2] / "notebooks" / "results" / "cifar"


def test_show_ranks_by_repeats_and_names_the_winner(capsys: pytest.CaptureFixture[str]) -> None:
    show_study(tuner.load_study(CIFAR), 4)
    head, columns, *rows, best, search, verdict = capsys.readouterr().out.splitlines()
    assert head.startswith("cifar")
    assert columns.split()[:5] == ["trial", "repeats", "repeats", "mean", "test"]
    assert [row.split()[0] for row in rows] == ["42", "45", "13", "7"]
    assert rows[0].split()[:8] == ["42", "3", "0.8161", "±", "0.0150", "0.8140", "±", "0.0082"]
    assert best == "Best by its repeats: trial 42, val_accuracy 0.8161, 95 % interval 0.7974 to 0.8311 (3 seeds)"
    assert search == "In the search it had 0.8190, which is too good, because it was chosen among 64 trials"
    assert verdict == "It cannot be told from trial 45 (p = 0.75, 3 compared)"


def test_best_names_the_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    best(str(CIFAR))
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first.startswith("Best by its repeats: trial 42, val_accuracy 0.8161, 95 % interval 0.7974 to 0.8311")
    assert last.startswith("architecture rubio_small, batch_size 64, epochs 12, learning_rate 0.001151")


def test_best_without_repeats_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cifar = tuner.load_study(CIFAR)
    folder = StudyFolder(tmp_path / "cifar")
    folder.storage.create()
    folder.write_spec(cifar.spec)
    tables = folder.tables(cifar.spec)
    searched = {**cifar.trial(7), "sampler_attrs": "{}", "values": [0.8126]}
    tables.append("trials", {key: None if is_missing(value) else value for key, value in searched.items()})
    tables.flush()
    best(str(folder))
    assert capsys.readouterr().out.startswith("Trial 7: val_accuracy 0.8126 in the search, not repeated\narchitecture")


def test_ls_shows_the_mean_of_repeats(capsys: pytest.CaptureFixture[str]) -> None:
    show_studies([StudyFolder(CIFAR)])
    assert "0.8161 val_accuracy (mean of repeats)" in capsys.readouterr().out


def test_compare_shows_studies_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    compare([str(CIFAR), str(CIFAR.parent / "vazquez_exp2_clean")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["cifar", "vazquez_exp2_clean"]
    assert any(re.match(r"best value, in the search +0\.8190 val_accuracy", line) for line in lines)
    assert lines[-1] == "The values cannot be compared: no test"


def test_compare_shows_other_objectives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_study(tmp_path / "loss", {"objective": {"minimize": "val_loss"}}, trials=[trial_row(7, 0.25, epochs_run=0)])
    compare([str(tmp_path / "loss"), str(CIFAR)])
    lines = {line.partition("  ")[0]: line.split()[-4:] for line in capsys.readouterr().out.splitlines()}
    assert lines["best value, in the search"] == ["0.25", "val_loss", "0.8190", "val_accuracy"]


def test_show_tells_failures_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_study(write_study(tmp_path / "s", {}, trials=[trial_row(0, state="FAILED", error="a\nb\x1b[31m")]), 1)
    assert capsys.readouterr().out.splitlines()[1:] == ["  trial 0 FAILED: a\\nb\\x1b[31m"]


def test_trials_outside_constraints_are_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    constraints = {"constraints": {"parameters_count": {"max": 1000}}}
    study = write_study(tmp_path / "s", constraints, trials=[trial_row(0, 0.5, parameters_count=2000)])
    show_study(study, 1)
    assert capsys.readouterr().out.splitlines()[1:] == ["  No completed trial is inside the constraints"]
    with pytest.raises(StudyError, match="no trial inside the constraints is complete yet"):
        best(str(tmp_path / "s"))


def test_front_without_epochs_has_no_hypervolume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    objectives = {"objective": [{"maximize": "val_accuracy"}, {"minimize": "parameters_count"}]}
    row = trial_row(0, 0.5, values=[0.5, 9.0], epochs_run=0)
    show_study(write_study(tmp_path / "s", objectives, trials=[row]), 1)
    assert capsys.readouterr().out.splitlines()[-1] == (
        "front: 1 of 1 completed trials, which none is better than in every objective"
    )


def test_absolute_path_is_not_below_results(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=f"^{tmp_path}: no study here"):
        best(str(tmp_path), str(CIFAR.parent))


def test_compare_refuses_a_study_alone() -> None:
    with pytest.raises(StudyError, match="allowed: two studies or more"):
        compare([str(CIFAR), str(CIFAR)])
