"""The displays of a running study."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from tests.support.progress import Clock, begin, end, epoch, study, trial
from tests.support.studies import START, epoch_rows, trial_row, write_study
from tuner.cli import live
from tuner.cli.live import LiveDisplay, PlainDisplay, watching
from tuner.cli.run import progress_so_far
from tuner.config.study import StudyConfig
from tuner.study.budget import Spent
from tuner.study.progress import Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(live, "monotonic", clock)
    return clock


def recorded(spec: StudyConfig, clock: Clock) -> tuple[PlainDisplay, io.StringIO]:
    text = io.StringIO()
    return PlainDisplay(Console(file=text, width=80), Progress(spec, clock=clock)), text


def test_plain_display_prints_line_per_ended_trial(clock: Clock) -> None:
    lines, text = recorded(study(), clock)
    row = begin(lines, trial(0))
    epoch(lines, row, clock, value=0.87654)
    end(lines, row, test_accuracy=0.8)
    end(lines, begin(lines, trial(1)), "FAILED", error="loss is nan [in] epoch 1")
    assert text.getvalue().splitlines() == [
        "[1/10 0:02, 11 to 29 s left] trial 0 COMPLETE: val_accuracy 0.8765, 1 of 10 epochs, test 0.8000 (best so far)",
        "[2/10 0:02, 0 to 37 s left] trial 1 FAILED: loss is nan [in] epoch 1",
    ]


def test_failed_attempt_with_retry_is_not_failed(clock: Clock) -> None:
    lines, text = recorded(study(), clock)
    row = begin(lines, trial(0))
    lines.trial_ended({**row, "state": "FAILED", "error": "ActorDiedError: gone"})
    assert text.getvalue() == "trial 0 is tried again, attempt 1 failed: ActorDiedError: gone\n"
    standing = Progress(study())
    row = begin(standing, trial(0))
    assert not standing.ended({**row, "state": "FAILED", "error": "gone"})
    assert (standing.done, len(standing.running)) == (0, 1)


def test_plain_display_breaks_long_silence(clock: Clock) -> None:
    lines, text = recorded(study(), clock)
    row = begin(lines, trial(3))
    epoch(lines, row, clock, seconds=20)
    assert text.getvalue() == ""
    epoch(lines, row, clock, seconds=20, value=0.25)
    assert text.getvalue() == "[0/10 0:40, 20 to 53 min left] trial 3: val_accuracy 0.2500, 2 of 10 epochs\n"


def test_plain_display_prints_stopping_once(clock: Clock) -> None:
    lines, text = recorded(study(), clock)
    lines.halting()
    lines.halting()
    assert text.getvalue().count("Stopping") == 1


def test_watching_picks_display_by_console() -> None:
    for terminal, kind in ((True, LiveDisplay), (False, PlainDisplay)):
        console = Console(file=io.StringIO(), force_terminal=terminal, width=80)
        with watching(console, Progress(study())) as observer:
            assert type(observer) is kind


def test_trials_pruned_at_end_share_a_line(clock: Clock) -> None:
    lines, text = recorded(study(stopping={"asha": {"grace_period": 1}}), clock)
    rows = [begin(lines, trial(number)) for number in range(4)]
    for row in rows:
        epoch(lines, row, clock)
        lines.trial_judged({"number": row["number"], "rung": 1.0, "verdict": "wait"})
        row["state"] = "PAUSED"
        lines.trial_paused(row)
    before = text.getvalue()
    for row in rows:
        end(lines, row, "PRUNED")
    lines.finish()
    assert text.getvalue().removeprefix(before).splitlines() == [
        "4 trials that waited at a rung are pruned, because the search is over",
        "Took 0:08; 4 epochs of all trials; rung 1: 0 of 4 went on",
    ]


def test_trial_pruned_at_rung_has_its_line(clock: Clock) -> None:
    lines, text = recorded(study(), clock)
    row = begin(lines, trial(0))
    epoch(lines, row, clock)
    end(lines, row, "PRUNED")
    assert "trial 0 PRUNED: val_accuracy 0.5000, 1 of 10 epochs" in text.getvalue()


def test_failed_trials_that_are_opened_again_are_not_done(tmp_path: Path) -> None:
    trials = [trial_row(0, 0.5), trial_row(1, state="FAILED"), trial_row(2, 0.4, "PAUSED")]
    verdict = {"number": 2, "attempt": 1, "bracket": 0, "rung": 1.0, "verdict": "wait", "at": START}
    written = {"trials": trials, "epochs": epoch_rows(0, [0.5]), "decisions": [verdict]}
    earlier = write_study(tmp_path / "failed", {"search": {"trials": 9}, "stopping": "asha"}, **written)
    before = progress_so_far(earlier.spec, earlier, Spent())
    assert (before.done, before.rungs.rungs[0].waiting) == (3, 1)
    assert progress_so_far(earlier.spec, earlier, Spent(), reopens=True).done == 2
