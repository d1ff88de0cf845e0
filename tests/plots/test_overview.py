"""The overview of real studies, and the card that notebooks show."""

from pathlib import Path

import pytest

import tuner
from tests.support.studies import epoch_rows, trial_row, write_study
from tuner import plots
from tuner.config.study import parse_spec
from tuner.results.folder import StudyFolder, StudyResults
from tuner.results.tables import now

RESULTS = Path(__file__).parents[2] / "notebooks" / "results"
HOSTILE = "<script>alert('1')</script>"


@pytest.mark.slow
def test_overview_draws_what_a_study_has() -> None:
    axes = tuner.load_study(RESULTS / "cifar").plot()
    assert list(axes) == ["best", "curves", "parallel", "rungs"]
    figure = axes["best"].figure
    assert {each.figure for each in axes.values()} == {figure}
    figure.canvas.draw()
    assert [line.get_label() for line in axes["best"].lines] == ["completed trial", "best so far"]
    assert axes["curves"].get_legend().get_texts()[0].get_text().startswith("trial 42")


def begun(folder: Path, *states: str) -> StudyResults:
    """A study with a trial for each state, whose rows hold a hostile text."""
    space = {"learning_rate": {"float": [1e-4, 1]}, "optimizer": {"choice": ["adam", "sgd"]}}
    training = {"architecture": "vazquez_base"}
    spec = parse_spec({"study": "odd", "training": training, "space": space})
    kept = StudyFolder(folder)
    kept.write_spec(spec)
    tables = kept.tables(spec)
    for number, state in enumerate(states):
        row = {"study": spec.study, "number": number, "attempt": 1, "state": state, "purpose": "search"}
        row |= {"value": 0.5, "values": [0.5], "val_accuracy": 0.5, "updated_at": now(), "epochs_run": 1}
        tables.append("epochs", {"study": spec.study, "number": number, "attempt": 1, "epoch": 1, "val_accuracy": 0.5})
        tables.append("trials", row | {"param_learning_rate": 0.1, "param_optimizer": HOSTILE})
    tables.flush()
    return StudyResults(kept, spec)


@pytest.mark.slow
def test_overview_of_a_begun_study_holds_texts(tmp_path: Path) -> None:
    for name, states in (("empty", ()), ("pruned", ("PRUNED",))):
        axes = plots.overview(begun(tmp_path / name, *states))
        axes["best"].figure.canvas.draw()
        assert axes["best"].texts[0].get_text() == "no completed trial"
        assert len(axes["curves"].lines) == len(states)


def test_study_shows_itself_in_a_notebook() -> None:
    html = tuner.load_study(RESULTS / "cifar")._repr_html_()
    assert "<b>cifar</b>: maximize val_accuracy" in html
    assert "25 complete, 48 pruned" in html
    assert "best: trial 42, val_accuracy 0.8190, mean of repeats 0.8161" in html
    assert html.count("<tr>") == 6
    assert "<td>0.8161 ± 0.0150</td>" in html


def test_card_escapes_every_text(tmp_path: Path) -> None:
    html = begun(tmp_path / "study", "COMPLETE")._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;alert(&#x27;1&#x27;)&lt;/script&gt;" in html
    empty = begun(tmp_path / "empty")._repr_html_()
    assert "no trials" in empty
    assert "<table>" not in empty


@pytest.mark.parametrize(("most", "drawn"), [(5, {"trial 1, the best", "complete"}), (1, {"complete"})])
def test_overview_colours_the_best_inside_constraints(most: int, drawn: set[str], tmp_path: Path) -> None:
    rows = [trial_row(number, value, parameters_count=count) for number, value, count in ((0, 0.9, 9), (1, 0.5, 3))]
    epochs = [row for number in range(2) for row in epoch_rows(number, [0.1, 0.9 - number / 2])]
    settings = {"constraints": {"parameters_count": {"max": most}}}
    legend = write_study(tmp_path / "s", settings, trials=rows, epochs=epochs).plot()["curves"].get_legend()
    assert {text.get_text() for text in legend.texts} == drawn
