"""The panel at every size of a terminal."""

import io
import re

import pytest
from rich.console import Console

from tests.support.progress import Clock, begin, end, epoch, study, trial
from tuner.cli.live import LiveDisplay
from tuner.study.progress import Progress


@pytest.fixture
def clock() -> Clock:
    return Clock()


def printed(renderable: object, width: int = 80, height: int = 24) -> str:
    console = Console(file=io.StringIO(), width=width, height=height)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


@pytest.fixture
def busy(clock: Clock) -> LiveDisplay:
    """The panel of a study with trials at every rung, in every state."""
    spec = study(search={"trials": 40}, stopping={"asha": {"grace_period": 1, "reduction_factor": 2}})
    panel = LiveDisplay(Console(), Progress(spec, clock=clock))
    panel.slots_counted(4)
    for number in range(24):
        row = begin(panel, trial(number))
        for rung in (1, 2, 4)[: number % 4]:
            while row.get("epochs_run", 0) < rung:
                epoch(panel, row, clock, value=0.5 + number / 100)
            panel.trial_judged({"number": number, "rung": float(rung), "verdict": "go"})
        if number % 4 == 0:
            epoch(panel, row, clock)
            panel.trial_judged({"number": number, "rung": 1.0, "verdict": "wait"})
            row["state"] = "PAUSED"
            panel.trial_paused(row)
        else:
            end(panel, row, ("COMPLETE", "PRUNED", "COMPLETE")[number % 3])
    for number in range(24, 28):
        epoch(panel, begin(panel, trial(number)), clock, value=0.61)
    return panel


def test_panel_shows_rungs_sparkline_and_waits(busy: LiveDisplay) -> None:
    text = printed(busy, height=40)
    assert "4 running in 4 slots, 6 waiting" in text
    assert re.search(r"0\.5200 [▁▂▃▄▅▆▇█ ]+█ 0\.7300 over 52 epochs", text)
    rows = re.findall(r"rung (\d+) +(━+) +(\d+) passed +(\d+) waiting", text)
    assert [row[0] for row in rows] == ["1", "2", "4", "8"][: len(rows)]
    assert [(int(passed), int(waiting)) for *_, passed, waiting in rows[:3]] == [(18, 6), (12, 0), (6, 0)]
    assert [len(bar) for _, bar, *_ in rows[:3]] == [32, 16, 8]
    assert "6 trials wait to be among the best 1/2 of a rung" in text


@pytest.mark.parametrize("width", [1, 20, 40, 80, 140])
def test_panel_fits_every_size(width: int, busy: LiveDisplay) -> None:
    for height in (1, 3, 5, 8, 10, 14, 24, 60):
        lines = printed(busy, width, height).splitlines()
        assert len(lines) < max(height, 4)
        assert max(map(len, lines)) <= width


def test_low_panel_keeps_trials_and_drops_rungs(busy: LiveDisplay) -> None:
    text = printed(busy, 80, 10)
    assert "rung " not in text.replace("of a rung", "")
    assert "… and 2 more" in text
    assert "best val_accuracy 0.7300" in text


def test_panel_shows_what_workers_report(clock: Clock) -> None:
    panel = LiveDisplay(Console(), Progress(study(), clock=clock))
    row = begin(panel, trial(0))
    epoch(panel, row, clock)
    assert "images/s" not in printed(panel)
    panel.epoch_reported(row, {"peak_memory_bytes": 12_345_678_901, "images_per_second": 4321.9})
    flowing = " ".join(printed(panel, 100).split())
    assert "time GPU memory images/s parameters 0 1/10 0.5000 0:02 12.3 GB 4,322 learning_rate" in flowing


def test_panel_without_unicode_draws_no_blocks(busy: LiveDisplay) -> None:
    text = io.TextIOWrapper(io.BytesIO(), encoding="latin-1", errors="replace")
    Console(file=text, width=80, height=40).print(busy)
    text.flush()
    assert "18 passed" in text.buffer.getvalue().decode("latin-1")  # type: ignore[attr-defined]


def test_panel_shows_start_until_first_attempt(clock: Clock) -> None:
    panel = LiveDisplay(Console(), Progress(study(), clock=clock))
    assert "Ray and the workers are starting" in printed(panel)
    panel.trial_started(row := trial(0))
    assert "Ray and the workers are starting" in printed(panel)
    panel.attempt_started(row)
    clock.now += 75
    text = printed(panel)
    assert "starting" not in text
    assert "first epoch" in text
    assert "1:15" in text


@pytest.mark.parametrize("width", [80, 120])
def test_panel_shows_progress_and_best(width: int, clock: Clock) -> None:
    panel = LiveDisplay(Console(), Progress(study(), clock=clock))
    row = begin(panel, trial(0))
    for value in (0.7, 0.8):
        epoch(panel, row, clock, value=value)
    end(panel, row)
    row = begin(panel, trial(1))
    epoch(panel, row, clock, value=0.4321)
    lines = printed(panel, width).splitlines()
    assert max(map(len, lines)) <= width
    text = "\n".join(line.strip() for line in lines)
    assert "1/10 trials  0:06  31 to 82 s left" in text
    assert "1 running, 1 complete, 0 pruned, 0 failed" in text
    flowing = " ".join(text.split())
    best = "best val_accuracy 0.8000 trial 0: learning_rate 0.01235, batch_size 64, dense 128, dropout 0.25"
    assert best in flowing
    assert "1 1/10 0.4321 0:02 learning_rate 0.01235, batch_size 64" in flowing


@pytest.mark.parametrize("width", [12, 20, 25, 30, 35, 40, 45, 50, 55, 60, 70])
def test_panel_never_cuts_numbers(width: int, clock: Clock) -> None:
    panel = LiveDisplay(Console(), Progress(study(search={"trials": 1000}), clock=clock))
    for number in range(100):
        row = begin(panel, trial(number))
        epoch(panel, row, clock, value=0.1556)
        end(panel, row)
    for number in range(100, 103):
        epoch(panel, begin(panel, trial(number)), clock, value=0.4321)
    text = printed(panel, width, height=60)
    words = set(text.replace(",", " ").split())
    assert {"100/1000", "0.1556", "102"} <= words
    assert {word for word in words if word.startswith("0.4")} <= {"0.4321"}
    assert "0.4321" in words or width < 40
    assert {word for word in words if word.endswith("/10")} <= {"1/10"}


def test_panel_lists_trials_that_fit(clock: Clock) -> None:
    panel = LiveDisplay(Console(), Progress(study(search={"trials": 64}), clock=clock))
    for number in range(40):
        epoch(panel, begin(panel, trial(number)), clock)
    text = printed(panel, height=24)
    assert len(text.splitlines()) < 24
    assert "… and 24 more" in text


def test_panel_shows_that_study_is_stopping(clock: Clock) -> None:
    panel = LiveDisplay(Console(), Progress(study(), clock=clock))
    epoch(panel, begin(panel, trial(0)), clock)
    panel.halting()
    assert "Ctrl-C again" in printed(panel)
