"""The panel, the lines, and the time left."""

import io
from typing import Any

import pytest
from rich.console import Console

from tuner.cli import live
from tuner.cli.live import LiveDisplay, PlainDisplay, watching
from tuner.config.study import StudyConfig, parse_spec
from tuner.study import progress
from tuner.study.observer import Row
from tuner.study.progress import Progress


class Clock:
    """A clock that moves only when a test moves it."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (live, progress):
        monkeypatch.setattr(module, "monotonic", clock)
    return clock


def study(**changes: Any) -> StudyConfig:
    return parse_spec(
        {
            "study": "demo",
            "training": {"architecture": "vazquez_base"},
            "space": {
                "learning_rate": {"float": [1e-4, 1e-1], "log": True},
                "batch_size": {"choice": [32, 64]},
                "dense": {"int": [32, 256]},
                "dropout": {"float": [0.0, 0.5]},
            },
            "search": {"trials": 10},
            **changes,
        }
    )


def trial(number: int, **cells: Any) -> Row:
    """Return the row of a trial that Ray has received."""
    return {
        "number": number,
        "attempt": 1,
        "state": "RUNNING",
        "purpose": "search",
        "epochs_planned": 10,
        "param_learning_rate": 0.0123456789,
        "param_batch_size": 64,
        "param_dense": 128,
        "param_dropout": 0.25,
        **cells,
    }


def begin(standing: Progress | PlainDisplay, row: Row) -> Row:
    if isinstance(standing, Progress):
        standing.started(row)
        standing.taken_up(row)
    else:
        standing.trial_started(row)
        standing.attempt_started(row)
    return row


def epoch(standing: Progress | PlainDisplay, row: Row, clock: Clock, seconds: float = 2.0, value: float = 0.5) -> None:
    """Let an epoch pass and report it."""
    clock.now += seconds
    row.update(epochs_run=row.get("epochs_run", 0) + 1, seconds=row.get("seconds", 0.0) + seconds, value=value)
    if isinstance(standing, Progress):
        standing.reported(row)
    else:
        standing.epoch_reported(row, {})


def printed(renderable: object, width: int = 80, height: int = 24) -> str:
    console = Console(file=io.StringIO(), width=width, height=height)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def end(standing: Progress | PlainDisplay, row: Row, state: str = "COMPLETE", **cells: Any) -> None:
    row.update(state=state, **cells)
    if isinstance(standing, Progress):
        standing.ended(row)
    else:
        standing.trial_ended(row)


def test_time_left_unknown_before_first_epoch(clock: Clock) -> None:
    standing = Progress(study())
    begin(standing, trial(0))
    clock.now += 60
    assert standing.left is None


def test_time_left_ignores_start_of_ray(clock: Clock) -> None:
    standing = Progress(study())
    clock.now += 500
    row = begin(standing, trial(0))
    epoch(standing, row, clock, seconds=2.0)
    assert standing.left == pytest.approx(2.0 * (10 * 10 - 1))


def test_time_left_assumes_length_of_ended_trials(clock: Clock) -> None:
    standing = Progress(study())
    row = begin(standing, trial(0))
    for _ in range(4):
        epoch(standing, row, clock)
    end(standing, row, "PRUNED")
    assert standing.left == pytest.approx(2.0 * 9 * 4)


def test_time_left_halves_with_two_slots(clock: Clock) -> None:
    standing = Progress(study())
    rows = [begin(standing, trial(number)) for number in range(2)]
    for _ in range(5):
        epoch(standing, rows[0], clock, seconds=2.0)
        epoch(standing, rows[1], clock, seconds=0.0)
    assert standing.left == pytest.approx(1.0 * (8 * 10 + 5 + 5))


def test_time_left_ends_with_budget(clock: Clock) -> None:
    standing = Progress(study(budget={"hours": 0.01}))
    assert standing.left == pytest.approx(36)
    row = begin(standing, trial(0))
    epoch(standing, row, clock, seconds=6.0)
    assert standing.left == pytest.approx(30)


def test_time_left_ignores_repeated_epochs(clock: Clock) -> None:
    standing = Progress(study())
    row = begin(standing, trial(0, epochs_run=4, seconds=40.0))
    row["epochs_run"] = 3
    standing.reported(row)
    assert standing.left is None
    row["epochs_run"] = 4
    epoch(standing, row, clock, seconds=2.0)
    assert standing.left == pytest.approx(2.0 * (10 * 10 - 5))


def test_progress_of_resumed_study_counts_earlier_trials() -> None:
    earlier = [
        trial(0, state="COMPLETE", value=0.9),
        trial(1, state="PRUNED", value=0.95),
        trial(2, state="RUNNING"),
        trial(3, state="COMPLETE", value=0.9),
    ]
    standing = Progress(study(), earlier)
    assert (standing.done, standing.total) == (3, 10)
    assert standing.best is not None
    assert standing.best["number"] == 0


def test_best_is_lowest_when_minimizing() -> None:
    standing = Progress(study(objective={"minimize": "val_loss"}))
    for number, value in enumerate([0.5, 0.2, 0.9]):
        end(standing, begin(standing, trial(number, value=value)))
    assert standing.best is not None
    assert standing.best["number"] == 1


@pytest.mark.parametrize(("top", "total"), [(2, 10 + 6), ("all", 10 + 30)])
def test_total_includes_repeats(top: object, total: int) -> None:
    assert Progress(study(repeats={"top": top, "seeds": 3})).total == total


def test_total_excludes_repeats_of_incomplete_trials() -> None:
    standing = Progress(study(repeats={"top": "all", "seeds": 3}))
    end(standing, begin(standing, trial(0)), "PRUNED")
    end(standing, begin(standing, trial(1)), "FAILED", error="no")
    end(standing, begin(standing, trial(2, value=0.5)))
    end(standing, begin(standing, trial(3, purpose="repeat", value=0.9)))
    assert standing.total == 10 + 8 * 3
    assert standing.best is not None
    assert standing.best["number"] == 2


def test_panel_shows_start_until_first_attempt(clock: Clock) -> None:
    panel = LiveDisplay(Console(), Progress(study()))
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
    panel = LiveDisplay(Console(), Progress(study()))
    row = begin(panel, trial(0))
    for value in (0.7, 0.8):
        epoch(panel, row, clock, value=value)
    end(panel, row)
    row = begin(panel, trial(1))
    epoch(panel, row, clock, value=0.4321)
    lines = printed(panel, width).splitlines()
    assert max(map(len, lines)) <= width
    text = "\n".join(line.strip() for line in lines)
    assert "1/10 trials  0:06  about 0:50 left" in text
    assert "1 running, 1 complete, 0 pruned, 0 failed" in text
    flowing = " ".join(text.split())
    best = "best val_accuracy 0.8000 trial 0: learning_rate 0.01235, batch_size 64, dense 128, dropout 0.25"
    assert best in flowing
    assert "1 1/10 0.4321 0:02 learning_rate 0.01235, batch_size 64" in flowing


@pytest.mark.parametrize("width", [12, 20, 25, 30, 35, 40, 45, 50, 55, 60, 70])
def test_panel_never_cuts_numbers(width: int, clock: Clock) -> None:
    panel = LiveDisplay(Console(), Progress(study(search={"trials": 1000})))
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
    panel = LiveDisplay(Console(), Progress(study(search={"trials": 64})))
    for number in range(40):
        epoch(panel, begin(panel, trial(number)), clock)
    text = printed(panel, height=24)
    assert len(text.splitlines()) < 24
    assert "… and 25 more" in text


def test_panel_shows_that_study_is_stopping(clock: Clock) -> None:
    panel = LiveDisplay(Console(), Progress(study()))
    epoch(panel, begin(panel, trial(0)), clock)
    panel.halting()
    assert "Ctrl-C again" in printed(panel)


def recorded(spec: StudyConfig) -> tuple[PlainDisplay, io.StringIO]:
    text = io.StringIO()
    return PlainDisplay(Console(file=text, width=80), Progress(spec)), text


def test_plain_display_prints_line_per_ended_trial(clock: Clock) -> None:
    lines, text = recorded(study())
    row = begin(lines, trial(0))
    epoch(lines, row, clock, value=0.87654)
    end(lines, row, test_accuracy=0.8)
    end(lines, begin(lines, trial(1)), "FAILED", error="loss is nan [in] epoch 1")
    assert text.getvalue().splitlines() == [
        "[1/10 0:02, about 0:18 left] trial 0 COMPLETE: val_accuracy 0.8765, 1 of 10 epochs, test 0.8000 (best so far)",
        "[2/10 0:02, about 0:08 left] trial 1 FAILED: loss is nan [in] epoch 1",
    ]


def test_failed_attempt_with_retry_is_not_failed() -> None:
    lines, text = recorded(study())
    row = begin(lines, trial(0))
    lines.trial_ended({**row, "state": "FAILED", "error": "ActorDiedError: gone"})
    assert text.getvalue() == "trial 0 is tried again, attempt 1 failed: ActorDiedError: gone\n"
    standing = Progress(study())
    row = begin(standing, trial(0))
    assert not standing.ended({**row, "state": "FAILED", "error": "gone"})
    assert (standing.done, len(standing.running)) == (0, 1)


def test_plain_display_breaks_long_silence(clock: Clock) -> None:
    lines, text = recorded(study())
    row = begin(lines, trial(3))
    epoch(lines, row, clock, seconds=20)
    assert text.getvalue() == ""
    epoch(lines, row, clock, seconds=20, value=0.25)
    assert text.getvalue() == "[0/10 0:40, about 32:40 left] trial 3: val_accuracy 0.2500, 2 of 10 epochs\n"


def test_plain_display_prints_stopping_once() -> None:
    lines, text = recorded(study())
    lines.halting()
    lines.halting()
    assert text.getvalue().count("Stopping") == 1


def test_watching_picks_display_by_console() -> None:
    for terminal, kind in ((True, LiveDisplay), (False, PlainDisplay)):
        console = Console(file=io.StringIO(), force_terminal=terminal, width=80)
        with watching(console, Progress(study())) as observer:
            assert type(observer) is kind
