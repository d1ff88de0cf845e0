import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.support.studies import HOSTILE, epoch_rows, hostile_study, made_up_study, trial_row, write_study
from tuner import load_study, report
from tuner.errors import printable
from tuner.report.encodings import scale_of
from tuner.report.pictures import data_uri
from tuner.results.folder import StudyResults

COMMITTED = Path(__file__).parents[2] / "notebooks" / "results"
TWO = {"objective": [{"maximize": "val_accuracy"}, {"minimize": "parameters_count"}]}
Data = dict[str, Any]


class Page(HTMLParser):
    """The elements of a page, and the text of its data."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.data = ""
        self._is_data = False
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._is_data = ("id", "data") in attributes

    def handle_data(self, data: str) -> None:
        self.data += data if self._is_data else ""

    def handle_endtag(self, _: str) -> None:
        self._is_data = False


def blocks(data: Data) -> dict[str, Data]:
    found = [block for part in data["parts"] for block in part["lead"]]
    found += [block for part in data["parts"] for section in part["sections"] for block in section["blocks"]]
    assert len({block["id"] for block in found}) == len(found)
    return {block["id"].partition("_")[2]: block for block in found}


def text_of(block: Data) -> str:
    return " ".join(block["lines"])


def column(table: Data, title: str) -> list[Any]:
    return next(each["cells"] for each in table["columns"] if each["title"] == title)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> StudyResults:
    return made_up_study(tmp_path_factory.mktemp("results") / "small", 40)


@pytest.fixture
def without_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the library of figures out of pages, because it takes seconds to bundle."""
    monkeypatch.setattr("tuner.report.document._library", str)


@pytest.mark.slow
def test_page_holds_its_data_and_asks_for_nothing(small: StudyResults) -> None:
    html = report.page([small])
    page = Page(html)
    assert json.loads(page.data)["parts"] == json.loads(report.to_json(report.data([small])))["parts"]
    assert page.tags.count("script") == 3
    own = html.replace(html[html.index("<script>") : html.rindex("<script>")], "")
    assert not re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?(?:https?:|//)", own)


@pytest.mark.usefixtures("without_library")
@pytest.mark.slow
def test_page_runs_the_script_of_a_server_last(small: StudyResults) -> None:
    html = report.page([small], script="report.status('alive')")
    assert html.rindex("report.status('alive')") > html.index("window.report = report")


@pytest.mark.slow
def test_answer_names_a_single_value_and_what_stopping_saved(small: StudyResults) -> None:
    found = blocks(report.data([small]))
    best = small.best
    said = text_of(found["answer"])
    assert f"Trial {best['number']} with learning_rate" in said
    assert "a single value, chosen among 40 trials and not repeated" in said
    stopped = small.trials[small.trials["state"] == "PRUNED"]
    saved = int((stopped["epochs_planned"] - stopped["epochs_run"]).sum())
    assert f"Stopping saved {saved} epochs" in said
    assert "maximize val_accuracy on digits?" in text_of(found["question"])


@pytest.mark.slow
def test_answer_names_the_interval_of_repeats() -> None:
    found = blocks(report.data([load_study(COMMITTED / "cifar")]))
    said = text_of(found["answer"])
    assert "Trial 42 with architecture rubio_small" in said
    assert "val_accuracy 0.8161, the mean of 3 repeats with other seeds (95\u00a0% interval 0.7974 to 0.8311)" in said
    means = column(found["board"], "val_accuracy, mean of repeats")
    assert means[0] == [0.81607, 0.015023]


def test_tables_and_figures_agree_with_the_study(small: StudyResults) -> None:
    data = report.data([small])
    found, sets = blocks(data), data["datasets"]
    assert column(found["board"], "trial")[0] == small.best["number"]
    assert len(column(found["all_trials"], "trial")) == 40
    assert sorted(sets["s0_trials"]["trial"]) == list(range(40))
    assert sets["s0_trials"]["fate"][-5:] == ["complete"] * 5
    assert sets["s0_rungs"] == {"rung": [2.0]}
    first = [
        cell for cell, trial in zip(sets["s0_curves"]["value"], sets["s0_curves"]["trial"], strict=True) if trial == 8
    ]
    expected = small.epochs[small.epochs["number"] == 8]["val_accuracy"]
    assert first == pytest.approx(expected.tolist(), rel=1e-4)
    assert sets["s0_by_epochs"]["best"][-1] == pytest.approx(small.best["value"], rel=1e-4)
    figures = {key for key, block in found.items() if block["kind"] == "figure"}
    assert figures >= {
        "best_by_epochs",
        "best_by_time",
        "learning_curves",
        "parallel",
        "heat_map",
        "slice_p0",
        "slice_p3",
    }


@pytest.mark.slow
def test_figures_name_data_sets_of_the_page(small: StudyResults) -> None:
    data = report.data([small])
    named = set(re.findall(r'"data": \{"name": "(\w+)"\}', json.dumps(list(blocks(data).values()))))
    assert named
    assert named <= {*data["datasets"]}


@pytest.mark.usefixtures("without_library")
@pytest.mark.slow
def test_hostile_text_stays_text(tmp_path: Path) -> None:
    study = hostile_study(tmp_path / "<img src=x onerror=alert(1)>")
    extras = report.Extras(classes=[HOSTILE, HOSTILE], no_pictures=HOSTILE)
    html = report.page([study], [extras])
    page, plain = Page(html), Page(report.page([made_up_study(tmp_path / "plain", 3)]))
    assert page.tags.count("script") == plain.tags.count("script")
    assert "img" not in page.tags
    assert "alert(1)</script>" not in html
    data = json.loads(page.data)
    shown = printable(HOSTILE)
    found = blocks(data)
    assert column(found["failed"], "reason") == [shown]
    assert column(found["classes"], "class") == [f"{shown} (0)", f"{shown} (1)"]
    assert data["datasets"]["s0_trials"]["p1"] == [shown] * 4
    assert shown in text_of(found["question"])
    assert "49" not in text_of(found["question"])


@pytest.mark.slow
def test_expressions_of_figures_hold_no_text_of_a_study(tmp_path: Path) -> None:
    found = blocks(report.data([hostile_study(tmp_path / "hostile")]))
    specs = json.dumps([block["spec"] for block in found.values() if block["kind"] == "figure"])
    expressions = re.findall(r'"(?:expr|filter|test|labelExpr|calculate)": "((?:[^"\\]|\\.)*)"', specs)
    assert expressions
    assert not [each for each in expressions if "alert" in each]


FAILED = trial_row(0, state="FAILED", error="crash", error_kind="crash", epochs_run=0)
STUDIES: dict[str, tuple[Data, dict[str, list[Data]], str]] = {
    "no trial": ({}, {}, "No trial has begun."),
    "running": ({}, {"trials": [trial_row(0, state="RUNNING", epochs_run=0)]}, "No trial is complete yet: 1 running."),
    "failures only": (
        {},
        {"trials": [FAILED | {"number": number} for number in (0, 1)]},
        "No trial is complete yet: 2 failed.",
    ),
    "stopped only": (
        {},
        {"trials": [trial_row(0, 0.4, "PRUNED")], "epochs": epoch_rows(0, [0.3, 0.4])},
        "No trial is complete yet: 1 stopped.",
    ),
    "one trial": ({}, {"trials": [trial_row(0, 0.4)], "epochs": epoch_rows(0, [0.3, 0.4])}, "not repeated"),
    "no parameter": (
        {"space": {}},
        {"trials": [trial_row(0, 0.4), trial_row(1, 0.5)], "epochs": epoch_rows(0, [0.4])},
        "Trial 1 has val_accuracy 0.5000",
    ),
    "equal values": (
        {},
        {"trials": [trial_row(n, 0.4) for n in range(3)], "epochs": [*epoch_rows(0, [0.4]), *epoch_rows(1, [0.4])]},
        "Trial 0",
    ),
    "a loss": (
        {"objective": {"minimize": "val_loss"}},
        {"trials": [trial_row(0, 0.01), trial_row(1, 2.0)], "epochs": epoch_rows(0, [0.3, 1.99])},
        "val_loss 0.01",
    ),
    "two objectives, no trial": (TWO, {}, "No trial has begun."),
    "two objectives": (
        TWO,
        {
            "trials": [trial_row(n, 0.4 + n / 10, values=[0.4 + n / 10, 1000.0 * n]) for n in range(3)],
            "epochs": [row for n in range(3) for row in epoch_rows(n, [0.4 + n / 10])],
        },
        "Trial 2",
    ),
}


@pytest.mark.parametrize("name", STUDIES)
def test_every_kind_of_study_gives_a_page(name: str, tmp_path: Path) -> None:
    settings, tables, said = STUDIES[name]
    study = write_study(tmp_path / "demo", settings, **tables)
    data = json.loads(report.to_json(report.data([study])))
    found = blocks(data)
    assert said in text_of(found["answer"])
    assert ("front_0" in found) == (name == "two objectives")
    assert ("failed" in found) == (name == "failures only")
    assert "unreadable" not in json.dumps(data)


@pytest.mark.slow
def test_two_objectives_draw_the_front(tmp_path: Path) -> None:
    settings, tables, _ = STUDIES["two objectives"]
    data = report.data([write_study(tmp_path / "demo", settings, **tables)])
    front = data["datasets"]["s0_front_0"]
    assert front["is_front"] == [True, True, True]
    assert front["a"] == [0.0, 1000.0, 2000.0]


@pytest.mark.parametrize(
    ("metric", "values", "is_log"),
    [
        ("val_loss", [0.01, 2.0], True),
        ("val_loss", [0.5, 2.0], False),
        ("val_loss", [0.0, 2.0], False),
        ("val_accuracy", [0.01, 1.0], False),
        ("parameters_count", [1e4, 1e6], True),
    ],
)
def test_axes_are_logarithmic_over_decades(metric: str, values: list[float], is_log: bool) -> None:
    assert (scale_of(metric, pd.Series(values)) == {"type": "log"}) == is_log


def test_heat_map_names_its_cells(small: StudyResults) -> None:
    found = report.data([small], [report.Extras(pd.DataFrame(index=["batch_size", "dropout"]))])
    cells = found["datasets"]["s0_medians"]
    assert sum(cells["count"]) == small.trials["value"].notna().sum()
    assert "batch_size 16, dropout 0 to 0.0625" in cells["cell"]
    assert {*cells["x"]} == {"16", "32", "64"}
    assert cells["y2"][0] == pytest.approx(cells["y"][0] + 0.0625)


@pytest.mark.slow
def test_slices_leave_out_trials_without_the_parameter() -> None:
    found = blocks(report.data([load_study(COMMITTED / "cifar")]))
    layers = found["slice_p6"]["spec"]["layer"]
    assert [layer["transform"][0] for layer in layers] == [{"filter": "isValid(datum.p6)"}] * 2


@pytest.mark.slow
def test_predictions_show_pictures_or_why_there_are_none(tmp_path: Path) -> None:
    study = hostile_study(tmp_path / "demo")
    split, images = report.pictured(study)
    assert (split, images) == ("test", [1, 3])
    picture = data_uri(np.zeros((3, 8, 8), np.uint8))
    found = blocks(report.data([study], [report.Extras(classes=["cat", "dog"], pictures={1: picture})]))
    assert [image["src"] for image in found["pictures"]["groups"][0]["images"]] == [picture]
    assert found["pictures"]["groups"][0]["title"] == "dog, predicted cat"
    found = blocks(report.data([study], [report.Extras(no_pictures="No images here.")]))
    assert text_of(found["no_pictures"]) == "No images here."


@pytest.mark.slow
def test_several_studies_are_compared(small: StudyResults, tmp_path: Path) -> None:
    other = made_up_study(tmp_path / "other", 20, search={"trials": 20, "sampler": "random"})
    data = report.data([small, other])
    assert [part["title"] for part in data["parts"]] == ["Comparison", "small", "other"]
    found = {block["id"]: block for block in data["parts"][0]["lead"]}
    assert column(found["comparison_values"], "trials") == [40, 20]
    assert "search.sampler" in column(found["comparison_settings"], "setting")
    assert {*data["datasets"]["comparison"]["study"]} == {"small", "other"}


@pytest.mark.slow
def test_page_of_ten_thousand_trials_is_small(many: StudyResults) -> None:
    html = report.page([many])
    assert len(html.encode()) < 2_500_000
    data = json.loads(Page(html).data)
    found, sets = blocks(data), data["datasets"]
    assert len({*sets["s0_curves"]["trial"]}) <= 205
    assert len(sets["s0_trials"]["trial"]) <= 2_005
    assert "of 10,000 trials are drawn" in found["learning_curves"]["caption"]
    assert found["all_trials"]["left_out"] == 9_800
    assert {"complete", "stopped", "failed"} == {*sets["s0_curves"]["fate"]}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> StudyResults:
    return made_up_study(tmp_path_factory.mktemp("results") / "many", 10_000)


def test_pictures_are_small_pngs() -> None:
    draw: Callable[..., Any] = np.random.default_rng(0).integers
    large = data_uri(draw(0, 255, (1, 300, 300)).astype(np.uint8))
    assert large.startswith("data:image/png;base64,")
    assert len(large) < 20_000
