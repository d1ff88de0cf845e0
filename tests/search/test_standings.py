"""Standings: which trials a proposal is drawn from, and in which order."""

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from tuner.search.standings import MOST_TRIALS, count_reported, order_by_rungs, standing_of

RUNGS = [1, 3, 9]
X = {"x": FloatDistribution(0, 1)}


def ended(state: TrialState, *values: float, x: float = 0.5) -> FrozenTrial:
    """Return a trial with values at epochs 1, 2, …"""
    return create_trial(
        state=state,
        value=values[-1] if values and state == TrialState.COMPLETE else None,
        params={"x": x},
        distributions=X,
        intermediate_values=dict(enumerate(values, start=1)),
    )


def study_of(*trials: FrozenTrial, direction: str = "maximize") -> Study:
    study = optuna.create_study(direction=direction)
    study.add_trials(trials)
    return study


def ranking(study: Study) -> list[int]:
    """Return numbers, the best first, as Optuna orders pruned trials."""
    sign = 1 if study.direction.name == "MAXIMIZE" else -1
    shown = order_by_rungs(study, RUNGS)
    assert {trial.state for trial in shown} == {TrialState.PRUNED}
    steps = {trial.number: max(trial.intermediate_values.items()) for trial in shown}
    return sorted(steps, key=lambda number: (steps[number][0], sign * steps[number][1]), reverse=True)


@pytest.mark.parametrize("sign", [1, -1])
def test_higher_rung_comes_first(sign: int) -> None:
    low, high = ended(TrialState.PRUNED, sign * 0.9), ended(TrialState.PRUNED, 0, 0, sign * 0.5)
    better, best = ended(TrialState.PRUNED, 0, 0, sign * 0.6), ended(TrialState.COMPLETE, *[sign * 0.4] * 10)
    study = study_of(low, high, better, best, direction="maximize" if sign == 1 else "minimize")
    assert ranking(study) == [3, 2, 1, 0]


def test_running_trial_counts_by_its_rung() -> None:
    study = study_of(ended(TrialState.PRUNED, 0.5), ended(TrialState.PRUNED, 0.5, 0.5, 0.6))
    trial = study.ask()
    trial.suggest_float("x", 0, 1)
    assert order_by_rungs(study, RUNGS)[-1].state == TrialState.RUNNING
    for epoch in (1, 2, 3):
        trial.report(0.7, epoch)
    assert ranking(study) == [2, 1, 0]
    assert study.get_trials()[-1].state == TrialState.RUNNING  # the study itself stays as it is
    assert study.get_trials()[-1].intermediate_values == {1: 0.7, 2: 0.7, 3: 0.7}


def test_failed_trial_is_left_out() -> None:
    study = study_of(ended(TrialState.FAIL, 0.9), ended(TrialState.PRUNED, 0.5))
    study.enqueue_trial({"x": 0.1})
    assert [trial.number for trial in order_by_rungs(study, RUNGS)] == [1]


def test_trial_without_value_stays_as_it_is() -> None:
    diverged = ended(TrialState.PRUNED)
    study = study_of(diverged, ended(TrialState.PRUNED, 0.5))
    shown = order_by_rungs(study, RUNGS)
    assert shown[0].intermediate_values == {}
    assert shown[1].intermediate_values == {0: 0.5}


def test_trial_that_cannot_be_trained_has_no_standing() -> None:
    study = study_of(ended(TrialState.PRUNED, 0.2))
    diverged = study.ask()
    diverged.suggest_float("x", 0, 1)
    diverged.report(0.9, 1)
    diverged.set_constraint("trainable", 1.0)
    study.tell(diverged, state=TrialState.PRUNED)
    assert standing_of(study.trials[1], RUNGS, 1) is None
    assert [trial.number for trial in order_by_rungs(study, RUNGS)] == [0, 1]


def test_standing_skips_a_missing_value() -> None:
    trial = ended(TrialState.PRUNED, 0.1, 0.2, float("nan"))
    assert standing_of(trial, RUNGS, 1) == (0, 0.1)
    assert standing_of(ended(TrialState.PRUNED), RUNGS, 1) is None


def test_long_search_keeps_its_best_trials() -> None:
    trials = [ended(TrialState.PRUNED, index % 1000 / 1000) for index in range(3000)]
    trials[7] = ended(TrialState.COMPLETE, *[0.1] * 10)
    study = study_of(*trials)
    shown = order_by_rungs(study, RUNGS)
    assert len(shown) == MOST_TRIALS
    assert ranking(study)[:4] == [7, 999, 1999, 2999]
    numbers = [trial.number for trial in shown]
    assert numbers == sorted(numbers)
    assert sum(number < 1500 for number in numbers) == pytest.approx(MOST_TRIALS / 2, abs=25)


def test_count_ends_early() -> None:
    study = study_of(ended(TrialState.PRUNED), ended(TrialState.FAIL), ended(TrialState.COMPLETE, 1.0))
    running = study.ask()
    assert count_reported(study, 8) == 2
    running.report(0.5, 1)
    assert count_reported(study, 8) == 3
    assert count_reported(study, 2) == 2
