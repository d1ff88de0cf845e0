"""Tests that private parts of Optuna are still there and work as before."""

import json
import pickle
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.samplers import CmaEsSampler

from tuner.errors import StudyError
from tuner.search.optuna_internals import dump_attributes, load_attributes


def told_study(trials: int) -> optuna.Study:
    """Return a study of two numbers that CMA-ES has proposed."""
    study = optuna.create_study(sampler=CmaEsSampler(seed=0, warn_independent_sampling=False))
    for _ in range(trials):
        trial = study.ask()
        value = trial.suggest_float("x", -1, 1) ** 2 + trial.suggest_float("y", -1, 1)
        study.tell(trial, value)
    return study


def test_dump_leaves_enqueued_parameters_out() -> None:
    study = optuna.create_study()
    study.enqueue_trial({"x": 0.5})
    trial = study.ask()
    trial.suggest_float("x", 0, 1)
    trial.set_constraint("trainable", 1.0)
    attributes = study.get_trials(deepcopy=False)[0].system_attrs
    assert "fixed_params" in attributes
    assert set(attributes) - set(json.loads(dump_attributes(attributes))) == {"fixed_params"}


def test_load_accepts_the_state_of_cmaes() -> None:
    attributes = [trial.system_attrs for trial in told_study(20).trials]
    with_state = [kept for kept in attributes if "cma:optimizer:0" in kept]
    assert with_state
    for kept in with_state:
        assert load_attributes(dump_attributes(kept)) == kept


def test_load_refuses_foreign_code(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, tuple[Path]]:
            return Path.touch, (tmp_path / "sprung",)

    text = json.dumps({"cma:optimizer:0": pickle.dumps(Trap()).hex()})
    with pytest.raises(StudyError, match=r"^trials.sampler_attrs: found pathlib\.[\w.]*, which"):
        load_attributes(text)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("cell", [None, float("nan"), "{}"])
def test_load_reads_an_empty_cell(cell: Any) -> None:
    assert load_attributes(cell) == {}
