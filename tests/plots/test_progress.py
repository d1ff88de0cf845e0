import numpy as np
import pandas as pd
import pytest

from tuner import plots
from tuner.analysis.ledger import ENTRIES, Ledger
from tuner.errors import UserError

REACHED = pd.DataFrame({"number": [1, 0, 2], "value": [0.5, 0.4, 0.7], "best": [0.5, 0.5, 0.7], "epochs": [3, 9, 20]})


def test_best_so_far_is_steps_over_trials() -> None:
    axes = plots.best_so_far(REACHED)
    trials, best = axes.lines
    assert trials.get_xydata().tolist() == [[3, 0.5], [9, 0.4], [20, 0.7]]
    assert best.get_xydata().tolist() == [[3, 0.5], [9, 0.5], [20, 0.7]]
    assert best.get_drawstyle() == "steps-post"
    assert axes.get_xlabel() == "epochs of all trials"


@pytest.mark.parametrize(
    ("longest", "unit", "last"),
    [(100.0, "seconds", 100.0), (600.0, "minutes", 10.0), (36_000.0, "hours", 10.0), (864_000.0, "days", 10.0)],
)
def test_best_by_time_chooses_its_unit(longest: float, unit: str, last: float) -> None:
    timed = REACHED.drop(columns="epochs").assign(seconds=np.linspace(1, longest, 3))
    axes = plots.best_so_far(timed)
    assert axes.get_xlabel() == f"time of the study ({unit})"
    assert axes.lines[1].get_xdata()[-1] == pytest.approx(last)


def test_best_so_far_of_nothing_is_a_text() -> None:
    assert plots.best_so_far(REACHED[:0]).texts[0].get_text() == "no completed trial"
    with pytest.raises(UserError, match=r"^reached: found no column 'best'"):
        plots.best_so_far(REACHED.drop(columns="best"))


def test_time_ledger_has_a_bar_per_entry_spent() -> None:
    spent = dict.fromkeys(ENTRIES, 0.0) | {"completed": 60.0, "idle": 20.0}
    axes = plots.time_ledger(Ledger(spent, 80.0, 40.0))
    assert [bar.get_width() for bar in axes.patches] == [0.75, 0.25]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["completed", "idle"]
    assert [text.get_text() for text in axes.texts] == ["60 s", "20 s"]
    assert plots.time_ledger(Ledger(dict.fromkeys(ENTRIES, 0.0), 0.0, 0.0)).texts[0].get_text() == "no time recorded"
