"""The progress of a study, and the time left."""

import pytest

from tests.support.progress import Clock, begin, end, epoch, study, trial
from tuner.study.progress import Progress
from tuner.study.waits import describe_wait


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_time_left_unknown_before_first_epoch(clock: Clock) -> None:
    standing = Progress(study(), clock=clock)
    begin(standing, trial(0))
    clock.now += 60
    assert standing.left is None


def test_time_left_ignores_start_of_ray(clock: Clock) -> None:
    standing = Progress(study(), clock=clock)
    clock.now += 500
    row = begin(standing, trial(0))
    epoch(standing, row, clock, seconds=2.0)
    assert standing.left is not None
    assert standing.left.likely == pytest.approx(2.0 * (10 * 10 - 1))


def test_time_left_assumes_length_of_ended_trials(clock: Clock) -> None:
    standing = Progress(study(), clock=clock)
    row = begin(standing, trial(0))
    for _ in range(4):
        epoch(standing, row, clock)
    end(standing, row, "PRUNED")
    assert standing.left is not None
    assert standing.left.likely == pytest.approx(2.0 * 9 * 4)


def test_time_left_halves_with_two_slots(clock: Clock) -> None:
    standing = Progress(study(), clock=clock)
    rows = [begin(standing, trial(number)) for number in range(2)]
    for _ in range(5):
        epoch(standing, rows[0], clock, seconds=2.0)
        epoch(standing, rows[1], clock, seconds=0.0)
    assert standing.left is not None
    assert standing.left.likely == pytest.approx(1.0 * (8 * 10 + 5 + 5))


def test_time_left_ends_with_budget(clock: Clock) -> None:
    standing = Progress(study(budget={"hours": 0.01}), clock=clock)
    assert standing.left is not None
    assert standing.left.likely == pytest.approx(36)
    row = begin(standing, trial(0))
    epoch(standing, row, clock, seconds=6.0)
    assert standing.left is not None
    assert standing.left.likely == pytest.approx(30)


def test_time_left_ignores_repeated_epochs(clock: Clock) -> None:
    standing = Progress(study(), clock=clock)
    row = begin(standing, trial(0, epochs_run=4, seconds=40.0))
    row["epochs_run"] = 3
    standing.reported(row, {})
    assert standing.left is None
    row["epochs_run"] = 4
    epoch(standing, row, clock, seconds=2.0)
    assert standing.left is not None
    assert standing.left.likely == pytest.approx(2.0 * (10 * 10 - 5))


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


def test_time_left_narrows_as_trials_end(clock: Clock) -> None:
    spec = study(search={"trials": 40}, stopping={"asha": {"grace_period": 1}})
    standing, widths = Progress(spec, clock=clock), []
    for number in range(30):
        row = begin(standing, trial(number))
        for _ in range(1 + 9 * (number % 5 == 0)):
            epoch(standing, row, clock, seconds=1.0 + number % 3)
        standing.rungs.judged({"number": number, "rung": 1.0, "verdict": "stop" if number % 5 else "go"})
        end(standing, row, "PRUNED" if number % 5 else "COMPLETE")
        left = standing.left
        assert left is not None
        assert left.low < left.likely < left.high
        widths.append(left.high - left.low)
    assert widths[-1] < min(widths[5:20])


def test_time_left_counts_repeats_to_their_end(clock: Clock) -> None:
    spec = study(search={"trials": 2}, stopping={"asha": {"grace_period": 1}}, repeats={"top": 1, "seeds": 3})
    standing = Progress(spec, clock=clock)
    for number in range(2):
        row = begin(standing, trial(number))
        epoch(standing, row, clock)
        end(standing, row, "PRUNED" if number else "COMPLETE")
    epoch(standing, begin(standing, trial(2, purpose="repeat", repeat_of=0)), clock)
    assert standing.left is not None
    assert standing.left.likely == pytest.approx(2.0 * (9 + 2 * spec.max_epochs))


def test_history_has_each_new_best_value(clock: Clock) -> None:
    earlier = [trial(0, state="COMPLETE", value=0.5, epochs_run=10), trial(1, state="PRUNED", epochs_run=1)]
    standing = Progress(study(), earlier, clock=clock)
    for number, value in ((2, 0.4), (3, 0.7)):
        row = begin(standing, trial(number))
        for _ in range(10):
            epoch(standing, row, clock, value=value)
        end(standing, row)
    assert standing.history == [(10, 0.5), (31, 0.7)]


def test_epochs_of_resumed_trial_count_once(clock: Clock) -> None:
    standing = Progress(study(), [trial(0, state="PAUSED", epochs_run=2), trial(1)], clock=clock)
    epoch(standing, begin(standing, trial(0, epochs_run=2, seconds=4.0)), clock)
    epoch(standing, begin(standing, trial(1, epochs_run=5, seconds=9.0)), clock)
    assert standing.epochs == 3 + 6


@pytest.mark.parametrize(
    ("events", "wait"),
    [
        (["given"], "Ray and the workers are starting …"),
        (["given", "begun"], "waits for the first epoch"),
        (["given", "begun", "trained"], None),
        (["given", "begun", "trained", "another"], "1 trial waits for a free slot"),
        (["given", "begun", "trained", "paused"], "waits for the next proposal; rung 1 waits for 2 more"),
    ],
)
def test_wait_is_described(events: list[str], wait: str | None, clock: Clock) -> None:
    standing = Progress(study(stopping={"asha": {"grace_period": 1}}), clock=clock)
    standing.slots = 1
    row = trial(0)
    for event in events:
        match event:
            case "given":
                standing.started(row)
            case "begun":
                standing.taken_up(row)
            case "trained":
                epoch(standing, row, clock)
            case "another":
                standing.started(trial(1))
            case "paused":
                standing.rungs.judged({"number": 0, "rung": 1.0, "verdict": "wait"})
                standing.paused(row | {"state": "PAUSED"})
    assert describe_wait(standing) == wait
