"""Tests that private parts of Optuna are still there and work as before."""

import json
import pickle
from pathlib import Path
from typing import Any

import optuna
import pytest
import scipy
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.samplers import CmaEsSampler, QMCSampler, RandomSampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from tuner.errors import StudyError
from tuner.search.optuna_internals import (
    BulkStorage,
    OrderedTpeSampler,
    SobolSampler,
    dump_attributes,
    load_attributes,
    silence_experimental,
)

SPACE = {"x": FloatDistribution(-1, 1), "y": CategoricalDistribution(["a", "b", "c"])}


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


def test_added_trials_equal_those_of_optuna() -> None:
    given = [
        create_trial(
            state=TrialState.COMPLETE if number % 3 else TrialState.WAITING,
            value=abs(number - 5.0) if number % 3 else None,
            params={"x": number / 10, "y": "b"},
            distributions=SPACE,
            intermediate_values={1: 0.25},
            user_attrs={"number": 2 * number},
        )
        for number in range(10)
    ]
    plain = optuna.create_study(storage=InMemoryStorage(), study_name="s")
    plain.add_trials(given)
    storage = BulkStorage()
    study = optuna.create_study(storage=storage, study_name="s")
    storage.add_trials(study._study_id, given[:4])
    storage.add_trials(study._study_id, given[4:])
    assert study.trials == plain.trials
    assert study.best_trial == plain.best_trial
    for _ in range(5):  # four that wait, and a new one
        ours, theirs = study.ask(SPACE), plain.ask(SPACE)
        assert (ours.number, ours.user_attrs) == (theirs.number, theirs.user_attrs)
        study.tell(ours, 0.5 - ours.number)
        plain.tell(theirs, 0.5 - theirs.number)
    assert study.best_trial.number == plain.best_trial.number == 10


def test_equal_distributions_are_shared() -> None:
    study = optuna.create_study(storage=BulkStorage())
    for low in (0.0, 0.0, 0.5):
        trial = study.ask()
        trial.suggest_float("x", low, 1.0)
        trial.suggest_categorical("y", ["a", "b"])
    first, second, other = (trial.distributions for trial in study.get_trials(deepcopy=False))
    assert first["x"] is second["x"]
    assert first["y"] is second["y"] is other["y"]
    assert other["x"] == FloatDistribution(0.5, 1.0)


def pruned_study() -> optuna.Study:
    """Return a study of pruned trials that are better near x = 0.5, and one that runs."""
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    for _ in range(40):
        trial = study.ask(SPACE)
        trial.report(abs(trial.params["x"] - 0.5), 1)
        study.tell(trial, state=TrialState.PRUNED)
    study.ask(SPACE)
    return study


def proposals(sampler: optuna.samplers.BaseSampler, study: optuna.Study) -> dict[str, Any]:
    study.sampler = sampler
    return study.ask(SPACE).params


def test_ordered_tpe_equals_optunas_own() -> None:
    silence_experimental()
    for seed in range(5):
        ours = OrderedTpeSampler(seed, lambda study: study.get_trials())
        plain = TPESampler(multivariate=True, group=True, seed=seed, n_startup_trials=0)
        assert proposals(ours, pruned_study()) == proposals(plain, pruned_study())


@pytest.mark.slow
def test_ordered_tpe_sees_only_the_given_trials() -> None:
    def turned(study: optuna.Study) -> list[FrozenTrial]:
        """Return trials that are better near x = -0.5."""
        points = [trial.params for trial in study.get_trials() if trial.state == TrialState.PRUNED]
        return [
            create_trial(
                state=TrialState.PRUNED,
                params=point,
                distributions=SPACE,
                intermediate_values={1: abs(point["x"] + 0.5)},
            )
            for point in points
        ]

    near = [proposals(OrderedTpeSampler(seed, turned), pruned_study())["x"] for seed in range(20)]
    assert abs(sum(near) / 20 + 0.5) < 0.2


def test_ordered_tpe_draws_what_no_trial_has() -> None:
    study = optuna.create_study(sampler=OrderedTpeSampler(3, lambda _: []))
    assert study.ask(SPACE).params.keys() == SPACE.keys()


def test_sobol_point_depends_on_its_index_alone() -> None:
    silence_experimental()
    plain = optuna.create_study(sampler=QMCSampler(scramble=True, seed=5, warn_independent_sampling=False))
    first = plain.ask(SPACE)  # which Optuna draws at random, because it knows no parameters yet
    plain.tell(first, 0.0)
    expected = [plain.ask(SPACE).params for _ in range(9)]
    points = [proposals(SobolSampler(5, index, SPACE), optuna.create_study()) for index in range(9)]
    assert points == expected
    raw = scipy.stats.qmc.Sobol(2, seed=5, scramble=True).random(16)
    assert [point["x"] for point in points] == pytest.approx(list(raw[:9, 0] * 2 - 1))
