from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.support.studies import epoch_rows, trial_row, write_study
from tuner.analysis.leaderboard import (
    best_by_epochs,
    best_by_time,
    counts_by_state,
    leaderboard,
    load_or_empty,
    read_pictures,
)
from tuner.config.study import StudyConfig, parse_spec
from tuner.results.folder import StudyFolder, StudyResults, is_finished

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
Row = dict[str, Any]
TIMED = [(0, 0.5, 1), (1, 0.4, 61), (2, 0.6, 62)]
RUN_TIMES = ("started_at", "stopped_at")


def study(**changes: Any) -> StudyConfig:
    return parse_spec(
        {
            "study": "demo",
            "training": {"architecture": "vazquez_base", "epochs": 3},
            "space": {"learning_rate": {"float": [1e-4, 1e-1], "log": True}, "batch_size": 32},
            "search": {"trials": 4},
            **changes,
        }
    )


def trial(number: int, *values: float, state: str = "COMPLETE", **cells: Any) -> Row:
    return {
        "number": number,
        "attempt": 1,
        "state": state,
        "value": values[0] if values else None,
        "values": list(values) or None,
        "val_accuracy": values[0] if values else None,
        "test_accuracy": 0.5,
        "epochs_run": 3,
        "train_seconds": 1.5,
        "purpose": "search",
        "param_learning_rate": 0.01 * (number + 1),
        "param_batch_size": 32,
        "updated_at": START + timedelta(seconds=number),
        **cells,
    }


def repeat(number: int, of: int, value: float, state: str = "COMPLETE") -> Row:
    return trial(number, value, state=state, purpose="repeat", repeat_of=of)


def epoch(number: int, epoch: int, minute: int) -> Row:
    return {"number": number, "attempt": 1, "epoch": epoch, "at": START + timedelta(minutes=minute)}


@pytest.fixture
def results(tmp_path: Path) -> Callable[..., StudyResults]:
    def write(spec: StudyConfig, *rows: Row, epochs: list[Row] | None = None) -> StudyResults:
        folder = StudyFolder(tmp_path / "demo")
        folder.storage.create()
        folder.write_spec(spec)
        tables = folder.tables(spec)
        for row in rows:
            tables.append("trials", row)
        for row in epochs or []:
            tables.append("epochs", row)
        tables.flush()
        return StudyResults(folder, spec)

    return write


Write = Callable[..., StudyResults]


def test_leaderboard_ranks_complete_trials_best_first(results: Write) -> None:
    board = leaderboard(
        results(study(), trial(0, 0.7), trial(1, 0.9), trial(2, 0.99, state="PRUNED"), trial(3, 0.9), trial(4, 0.8))
    )
    assert list(board["number"]) == [1, 3, 4, 0]
    assert list(board["val_accuracy"]) == [0.9, 0.9, 0.8, 0.7]


def test_leaderboard_of_minimized_metric_begins_with_lowest(results: Write) -> None:
    spec = study(objective={"minimize": "val_loss"})
    board = leaderboard(results(spec, trial(0, 0.7), trial(1, 0.2), trial(2, 0.4)))
    assert list(board["number"]) == [1, 2, 0]
    assert list(board["val_loss"]) == [0.2, 0.4, 0.7]


def test_leaderboard_names_accuracies_and_searched_parameters(results: Write) -> None:
    board = leaderboard(results(study(), trial(0, 0.7, val_accuracy=0.6)), top=1)
    assert list(board.columns) == [
        "number", "val_accuracy", "test_accuracy", "epochs", "train_seconds", "learning_rate",
    ]  # fmt: skip
    assert board.iloc[0].to_dict() == {
        "number": 0, "val_accuracy": 0.7, "test_accuracy": 0.5, "epochs": 3, "train_seconds": 1.5, "learning_rate": 0.01
    }  # fmt: skip


def test_leaderboard_shows_as_many_as_asked_for(results: Write) -> None:
    read = results(study(), *(trial(number, 0.1 * number) for number in range(4)))
    assert list(leaderboard(read, 2)["number"]) == [3, 2]
    assert len(leaderboard(read)) == 4


def test_leaderboard_without_complete_trials_is_empty(results: Write) -> None:
    assert leaderboard(results(study(), trial(0, state="FAILED"))).empty


def test_leaderboard_gives_mean_and_deviation_of_repeats(results: Write) -> None:
    board = leaderboard(
        results(
            study(repeats={"top": 2, "seeds": 3}),
            trial(0, 0.7),
            trial(1, 0.9),
            trial(2, 0.8),
            repeat(4, of=1, value=0.80),
            repeat(5, of=1, value=0.90),
            repeat(6, of=1, value=0.10, state="FAILED"),
            repeat(7, of=2, value=0.99),
        )
    ).set_index("number")
    assert list(board.index) == [2, 1, 0]  # by the means of the repeats
    assert list(board.columns[:3]) == ["repeats", "repeats_mean", "repeats_half"]
    assert (board["test_mean"][1], board["test_half"][1]) == (0.5, 0.0)
    assert list(board["val_accuracy"]) == [0.8, 0.9, 0.7]  # of the search
    assert (board["repeats"][1], board["repeats_mean"][1]) == (2, pytest.approx(0.85))
    assert board["repeats_std"][1] == pytest.approx(0.1 / 2**0.5)
    assert (board["repeats"][2], board["repeats_mean"][2]) == (1, 0.99)
    assert board["repeats_std"].isna().tolist() == [True, False, True]


def test_leaderboard_of_several_objectives_is_the_front(results: Write) -> None:
    spec = study(objective=[{"maximize": "val_accuracy"}, {"minimize": "parameters_count"}])
    board = leaderboard(
        results(spec, trial(0, 0.9, 100), trial(1, 0.8, 100), trial(2, 0.7, 10), trial(3, 0.9, 200), trial(4, 0.9, 100))
    )
    assert list(board["number"]) == [0, 4, 2]
    assert list(board["parameters_count"]) == [100, 100, 10]


def test_counts_by_state_name_every_state() -> None:
    trials = pd.DataFrame({"state": ["COMPLETE", "PRUNED", "COMPLETE"]})
    assert counts_by_state(trials) == {"COMPLETE": 2, "PRUNED": 1, "FAILED": 0, "PAUSED": 0, "RUNNING": 0}


def test_load_or_empty_without_folder_is_empty(tmp_path: Path) -> None:
    read = load_or_empty(study(), tmp_path)
    assert read.trials.empty
    assert read.epochs.empty
    assert "param_learning_rate" in read.trials
    assert list(tmp_path.iterdir()) == []


def test_load_or_empty_reads_the_study_folder(results: Write, tmp_path: Path) -> None:
    results(study(), trial(0, 0.7))
    read = load_or_empty(study(search={"trials": 9}), tmp_path)
    assert (read.spec.search.trials, len(read.trials)) == (4, 1)


def test_best_by_epochs_counts_epochs_of_all(results: Write) -> None:
    interleaved = [epoch(0, 1, 0), epoch(1, 1, 1), epoch(2, 1, 2), epoch(1, 2, 3), epoch(0, 2, 4), epoch(3, 1, 5)]
    untrained_and_repeat = [epoch(1, 0, 0), epoch(4, 1, 2)]
    read = results(
        study(),
        trial(0, 0.7),
        trial(1, 0.8),
        trial(2, 0.99, state="PRUNED"),
        trial(3, 0.9, state="RUNNING"),
        repeat(4, of=1, value=0.9),
        epochs=interleaved + untrained_and_repeat,
    )
    assert best_by_epochs(read).to_dict("list") == {
        "number": [1, 0], "epochs": [4, 5], "value": [0.8, 0.7], "best": [0.8, 0.8],
    }  # fmt: skip


def test_best_by_epochs_leaves_out_trials_outside_constraints(tmp_path: Path) -> None:
    rows = [trial_row(number, value, parameters_count=count) for number, value, count in ((0, 0.9, 9), (1, 0.5, 3))]
    epochs = [row for number in range(2) for row in epoch_rows(number, [0.1, 0.9])]
    read = write_study(tmp_path / "s", {"constraints": {"parameters_count": {"max": 5}}}, trials=rows, epochs=epochs)
    assert best_by_epochs(read).to_dict("list") == {"number": [1], "epochs": [4], "value": [0.5], "best": [0.5]}


def test_best_by_epochs_of_minimized_metric_falls(results: Write) -> None:
    spec = study(objective={"minimize": "val_loss"})
    read = results(spec, trial(0, 0.7), trial(1, 0.2), trial(2, 0.4), epochs=[epoch(n, 1, n) for n in range(3)])
    assert list(best_by_epochs(read)["best"]) == [0.7, 0.2, 0.2]


def test_read_pictures_keeps_their_shape(tmp_path: Path) -> None:
    image = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    row = {"dataset": "mnist", "index": 9, "label": 7, "channels": 2, "height": 3, "width": 4}
    pd.DataFrame([row | {"pixels": image.tobytes()}]).to_parquet(tmp_path / "pictures.parquet")
    (read,) = read_pictures(tmp_path / "pictures.parquet").to_dict("records")
    assert np.array_equal(read.pop("image"), image)
    assert read == {"dataset": "mnist", "index": 9, "label": 7}


FOUR = [trial(0, 0.9), trial(1, 0.8), trial(2, 0.3, state="PRUNED"), trial(3, state="FAILED")]
SIX = [*FOUR, *(repeat(number, of=number % 2, value=0.5) for number in range(4, 8))]


@pytest.mark.parametrize(
    ("repeats", "rows", "finished"),
    [
        (None, FOUR, True),
        (None, FOUR[:3], False),
        (None, [*FOUR[:3], trial(3, state="RUNNING")], False),
        ({"top": 2, "seeds": 2}, FOUR, False),
        ({"top": 2, "seeds": 2}, SIX[:-1], False),
        ({"top": 2, "seeds": 2}, SIX, True),
        ({"top": 1, "seeds": 2}, SIX, True),
        ({"top": "all", "seeds": 2}, SIX, True),
        ({"top": "all", "seeds": 3}, SIX, False),
    ],
)
def test_is_finished_waits_for_trials_and_repeats(
    repeats: Row | None, rows: list[Row], finished: bool, results: Write
) -> None:
    spec = study(repeats=repeats)
    assert is_finished(spec, results(spec, *rows).trials) == finished


def test_best_by_time_leaves_out_time_between_runs(results: Write) -> None:
    rows = [trial(number, value, updated_at=START + timedelta(minutes=minute)) for number, value, minute in TIMED]
    found = results(study(), *rows, epochs=[epoch(number, 1, minute) for number, _, minute in TIMED])
    spans = [(0, 2), (60, 63)]
    runs = [
        {name: (START + timedelta(minutes=minute)).isoformat() for name, minute in zip(RUN_TIMES, span, strict=True)}
        for span in spans
    ]
    found.folder.write_provenance({"study": "demo", "runs": runs})
    assert best_by_time(found).to_dict("list") == {
        "number": [0, 1, 2],
        "value": [0.5, 0.4, 0.6],
        "seconds": [60.0, 180.0, 240.0],
        "best": [0.5, 0.5, 0.6],
    }


def test_best_by_time_begins_with_the_first_trial_without_runs(results: Write) -> None:
    row = trial(0, 0.5, started_at=START, updated_at=START + timedelta(minutes=1))
    assert best_by_time(results(study(), row, epochs=[epoch(0, 1, 1)]))["seconds"].tolist() == [60.0]


def test_best_by_time_of_no_trial_is_empty(results: Write) -> None:
    assert best_by_time(results(study())).empty
