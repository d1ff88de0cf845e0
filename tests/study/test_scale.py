"""Work per trial does not grow with their number, by counting."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.search.test_searcher import Driven, study
from tuner.storage import Storage


def counted(do: Callable[..., Any], folder: Path, calls: Counter[str]) -> Callable[..., Any]:
    """The same, and every call for the folder is counted under its name.

    Threads of other tests may still read their own folders.
    """

    def counting(storage: Storage, *args: Any) -> Any:
        calls[do.__name__] += storage.root == folder
        return do(storage, *args)

    return counting


def files(folder: Path, trials: int) -> Counter[str]:
    """Count the calls to files while a study runs, by kind."""
    calls: Counter[str] = Counter()
    driven = Driven(study(trials=trials), folder)
    with pytest.MonkeyPatch.context() as patch:
        for do in (Storage.names, Storage.read, Storage.write, Storage.remove):
            patch.setattr(Storage, do.__name__, counted(do, folder, calls))
        driven.run()
    assert len(driven.proposals) == trials
    return calls


@pytest.mark.slow
def test_running_study_reads_no_table(tmp_path: Path) -> None:
    few, many = files(tmp_path / "few", 10), files(tmp_path / "many", 40)
    assert few["read"] == many["read"] == few["names"] == many["names"] == 0
    assert 10 * 2 <= few["write"] <= 10 * 4  # its row as it begins and as it ends, and epochs before either
    assert 40 * 2 <= many["write"] <= 40 * 4
    assert many["remove"] <= 40 * 3  # its checkpoint, its weights, and those of one that it surpassed


@pytest.mark.slow
def test_ended_trials_are_forgotten(tmp_path: Path) -> None:
    driven = Driven(study(trials=14), tmp_path).run()
    assert (driven.recorder._rows, driven.recorder._epochs) == ({}, {})
    assert (driven.searcher._optuna._reported, driven.searcher._optuna._asked) == ({}, {})
    again = driven.killed(study(trials=28))
    assert again.recorder._epochs == {}
    again.run(3)
    assert set(again.recorder._epochs) == {14, 15}


@pytest.mark.slow
def test_only_the_best_trials_are_remembered(tmp_path: Path) -> None:
    driven = Driven(study(trials=21), tmp_path).run()
    complete = driven.tables.trials().query("state == 'COMPLETE'")
    best = complete.sort_values(["value", "number"], ascending=[False, True])["number"].head(4)
    assert [number for _, number in driven.recorder._weights.best] == list(best)
    assert driven.killed().recorder._weights.best == driven.recorder._weights.best
