"""The tables of `show` and `ls`, over the committed search."""

from pathlib import Path

import pytest

import tuner
from tuner.cli.tables import show_studies, show_study
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


def test_ls_shows_the_mean_of_repeats(capsys: pytest.CaptureFixture[str]) -> None:
    show_studies([StudyFolder(CIFAR)])
    assert "0.8161 val_accuracy (mean of repeats)" in capsys.readouterr().out
