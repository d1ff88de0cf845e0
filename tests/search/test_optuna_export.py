"""Studies as Optuna's own tools read them, against the tables."""

import json
from pathlib import Path

import optuna
import pandas as pd
import pytest
from optuna.trial import FrozenTrial, TrialState

from tests.search.test_searcher import NESTED, Driven, study
from tuner.config.study import StudyConfig
from tuner.errors import StudyError
from tuner.results.folder import StudyFolder, StudyResults, load_study
from tuner.results.schema import is_search, parameters_from_row
from tuner.results.tables import now
from tuner.search.optuna_export import Mirror, export_study

STATES = {"COMPLETE": "COMPLETE", "PRUNED": "PRUNED", "FAILED": "FAIL", "RUNNING": "RUNNING"}


def begin(spec: StudyConfig, folder: Path) -> Driven:
    StudyFolder(folder).write_spec(spec)
    StudyFolder(folder).write_provenance({"runs": [{"started_at": now().isoformat()}]})
    return Driven(spec, folder)


def drive(driven: Driven, calls: int = 10_000) -> StudyResults:
    driven.run(calls)
    driven.tables.flush()
    return load_study(driven.tables.storage.root)


def assert_equal(trials: list[FrozenTrial], study: StudyResults) -> None:
    """Compare Optuna's trials with the tables."""
    rows = {row["number"]: row for row in study.trials[is_search(study.trials)].to_dict("records")}
    assert [trial.user_attrs["number"] for trial in trials] == list(rows)
    for trial in trials:
        row = rows[trial.user_attrs["number"]]
        assert trial.state.name == STATES[row["state"]]
        parameters = parameters_from_row(study.spec.space, row)
        assert trial.params == {
            name: json.dumps(value) if isinstance(value, list) else value for name, value in parameters.items()
        }
        assert trial.distributions.keys() == trial.params.keys()
        if row["state"] == "COMPLETE":
            assert trial.values == list(row["values"])
        for name in ("val_loss", "parameters_count", "error_kind"):
            assert trial.user_attrs.get(name) == (None if pd.isna(row[name]) else row[name])
        epochs = study.epochs[study.epochs["number"] == row["number"]]
        if len(study.spec.objective) == 1:
            assert trial.intermediate_values == dict(zip(epochs["epoch"], epochs["val_accuracy"], strict=True))
        assert trial.datetime_start is not None
        assert (trial.datetime_complete is None) == (row["state"] == "RUNNING")


@pytest.mark.parametrize("objectives", [1, 2])
@pytest.mark.slow
def test_exported_study_equals_the_tables(objectives: int, tmp_path: Path) -> None:
    objective = [{"maximize": "val_accuracy"}, {"minimize": "parameters_count"}][:objectives]
    spec = study(NESTED, trials=8, objective=objective, repeats={"top": 1, "seeds": 1}, stopping="none")
    results = drive(begin(spec, tmp_path / "s"))
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    assert export_study(results, url) == ("s", 8, 0)
    there = optuna.load_study(study_name="s", storage=url)
    assert_equal(there.trials, results)
    assert {trial.state.name for trial in there.trials} == {"COMPLETE", "PRUNED", "FAIL"}
    assert [direction.name for direction in there.directions] == ["MAXIMIZE", "MINIMIZE"][:objectives]
    if objectives == 1:
        assert there.best_value == results.trials[is_search(results.trials)]["value"].max()


@pytest.mark.slow
def test_export_goes_on_where_an_earlier_one_ended(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    driven = begin(study(trials=6), tmp_path / "s")
    first = drive(driven, 9)
    assert driven.live
    name, added, known = export_study(first, url)
    assert (name, known) == ("s", 0)
    assert 0 < added < len(first.trials)
    results = drive(driven.killed())
    assert export_study(results, url) == ("s", 6 - added, added)
    there = optuna.load_study(study_name="s", storage=url)
    assert_equal(sorted(there.trials, key=lambda trial: trial.user_attrs["number"]), results)
    there.optimize(lambda trial: trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True), n_trials=1)
    assert export_study(results, url) == ("s", 0, 7)
    other = drive(begin(study(trials=1, seed=9), tmp_path / "other" / "s"))
    with pytest.raises(StudyError, match="--storage: holds another study 's'; allowed: a storage without it"):
        export_study(other, url)
    assert len(optuna.load_study(study_name="s", storage=url).trials) == 7


@pytest.mark.parametrize("url", ["foo:bar", "optuna.db", "sqlite:////no/such/folder/optuna.db"])
@pytest.mark.slow
def test_export_refuses_storages_in_one_line(url: str, tmp_path: Path) -> None:
    results = drive(begin(study(trials=1), tmp_path / "s"))
    with pytest.raises(StudyError, match=r"^--storage: [^\n]+; allowed: a URL such as sqlite:///optuna.db$"):
        export_study(results, url)


@pytest.mark.parametrize("objectives", [1, 2])
@pytest.mark.slow
def test_mirror_follows_a_running_study(objectives: int, tmp_path: Path) -> None:
    objective = [{"maximize": "val_accuracy"}, {"minimize": "parameters_count"}][:objectives]
    driven = begin(study(trials=6, objective=objective), tmp_path / "s")
    mirror = Mirror(str(tmp_path / "s"))
    assert mirror.storage.get_all_trials(0) == []
    for calls in (4, 5, 6, 10_000):
        results = drive(driven, calls)
        assert mirror.refresh()
        trials = mirror.storage.get_all_trials(0)
        assert_equal(trials, results)
        assert [trial.number for trial in trials] == [trial._trial_id for trial in trials] == [*range(len(trials))]
    assert not mirror.refresh()
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if objectives == 1:
        assert mirror.storage.get_best_trial(0).value == max(trial.value for trial in complete if trial.value)
