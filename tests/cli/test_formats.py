"""Tables for programs, read back by their own parsers."""

import io
import json
import math
from pathlib import Path

import pandas as pd
import pytest

import tuner
from tuner.analysis.leaderboard import leaderboard
from tuner.cli.compare import compare
from tuner.cli.formats import print_frame
from tuner.cli.show import best, list_studies, show
from tuner.cli.streams import LastingStream
from tuner.errors import StudyError

RESULTS = Path(__file__).parents[2] / "notebooks" / "results"
CIFAR = str(RESULTS / "cifar")
HOSTILE = "a|b <b>\n`c` \u202eé 'q' \"d\", e"


def test_show_prints_csv_in_full_precision(capsys: pytest.CaptureFixture[str]) -> None:
    show(CIFAR, csv=True)
    board = leaderboard(tuner.load_study(CIFAR))
    read = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert list(read.columns) == list(board.columns)
    assert len(read) == len(board) == 16
    for name in board:
        assert read[name].dropna().tolist() == board[name].dropna().tolist(), name


def test_show_prints_json_without_nan(capsys: pytest.CaptureFixture[str]) -> None:
    show(CIFAR, as_json=True)
    rows = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    board = leaderboard(tuner.load_study(CIFAR))
    assert [row["learning_rate"] for row in rows] == board["learning_rate"].tolist()
    assert (rows[0]["repeats"], rows[-1]["repeats"]) == (3, None)


def test_show_prints_as_many_rows_as_asked(capsys: pytest.CaptureFixture[str]) -> None:
    show(CIFAR, top=2, markdown=True)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines] == ["| number", "| ---", "| 42", "| 45"]


def test_best_prints_the_row_of_one_trial(capsys: pytest.CaptureFixture[str]) -> None:
    best(CIFAR, as_json=True)
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["number"], row["test_accuracy"]) == (42, 0.8118)


@pytest.mark.slow
def test_ls_prints_one_row_per_study(capsys: pytest.CaptureFixture[str]) -> None:
    list_studies(str(RESULTS), as_json=True)
    rows = {row["study"]: row for row in json.loads(capsys.readouterr().out)}
    assert {*rows} == {folder.parent.name for folder in RESULTS.glob("*/study.yaml")}
    assert (rows["cifar"]["complete"], rows["cifar"]["of"]) == (25, 64)
    assert rows["cifar"]["repeats_mean"] == pytest.approx(0.8161, abs=1e-4)
    assert rows["higueros_alexnet"]["repeats_mean"] is None


def test_compare_prints_nothing_else_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    compare([CIFAR, str(RESULTS / "rubio")], as_json=True)
    said = capsys.readouterr()
    rows = json.loads(said.out)
    assert [row["study"] for row in rows] == ["cifar", "rubio"]
    assert rows[0]["search.trials"] == 64
    assert "no test" in said.err


@pytest.mark.parametrize("format_", ["csv", "json", "md"])
def test_frames_keep_hostile_text_in_its_cell(format_: str, capsys: pytest.CaptureFixture[str]) -> None:
    frame = pd.DataFrame({"a|b": [HOSTILE, "nan"], "x": [math.nan, math.inf], "n": pd.array([1, None], "Int64")})
    print_frame(frame, format_)
    text = capsys.readouterr().out
    if format_ == "csv":
        read = pd.read_csv(io.StringIO(text), keep_default_na=False)
        assert read["a|b"].tolist() == [HOSTILE, "nan"]
    elif format_ == "json":
        assert json.loads(text) == [{"a|b": HOSTILE, "x": None, "n": 1}, {"a|b": "nan", "x": None, "n": None}]
    else:
        assert len(text.splitlines()) == 4
        assert text.splitlines()[2].replace("\\|", "").count("|") == 4


def test_lost_output_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w", buffering=1) as full:
        monkeypatch.setattr("sys.stdout", LastingStream(full))
        with pytest.raises(StudyError, match=r"^standard output: No space left on device; .* not complete$"):
            print_frame(pd.DataFrame({"a": range(10_000)}), "csv")
        monkeypatch.undo()
        LastingStream(full).discard()


def test_formats_exclude_each_other() -> None:
    with pytest.raises(StudyError, match="--csv and --md: found together; allowed: one of"):
        show(CIFAR, csv=True, markdown=True)
    with pytest.raises(StudyError, match="--json: found with --address"):
        list_studies(address="http://127.0.0.1:1", as_json=True)
