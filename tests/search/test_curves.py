"""The sampler that learns from curves."""

import math
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState, create_trial

from tuner.config.space import Space
from tuner.search.curves import CurvesSampler, expected_improvement, normal_scores
from tuner.search.optuna_study import drawn_distributions

RUNGS, EPOCHS = [1, 3, 9], 27
SPACE = Space.model_validate(
    {
        "learning_rate": {"float": [1e-4, 1e-1], "log": True},
        "optimizer": {"choice": ["adam", "sgd"]},
        "momentum": {"float": [0.5, 0.9], "when": {"optimizer": "sgd"}},
    }
)


def value(parameters: dict[str, Any], epoch: int) -> float:
    """Return a curve's value, which ends highest near a rate of 10**-2.5 with adam."""
    off = abs(math.log10(parameters["learning_rate"]) + 2.5)
    return (1 - off / 3 - 0.2 * (parameters["optimizer"] == "sgd")) * (1 - 0.6**epoch)


def told_study(trials: int, *, seed: int = 0, sign: int = 1, diverges: bool = False) -> optuna.Study:
    """Return a study of trials at random, of which a tenth is complete."""
    study = optuna.create_study(direction="maximize" if sign == 1 else "minimize")
    distributions, draw = drawn_distributions(SPACE), np.random.default_rng(seed)
    for index in range(trials):
        parameters = {"learning_rate": float(10 ** draw.uniform(-4, -1)), "optimizer": "adam"}
        if draw.random() < 0.5:
            parameters |= {"optimizer": "sgd", "momentum": float(draw.uniform(0.5, 0.9))}
        is_refused = diverges and parameters["learning_rate"] > 1e-3
        last = 0 if is_refused else EPOCHS if index % 10 == 0 else (1, 3)[index % 2]
        state = TrialState.COMPLETE if last == EPOCHS else TrialState.PRUNED
        reported = {e: sign * value(parameters, e) for e in range(1, last + 1)}
        study.add_trial(
            create_trial(
                state=state,
                value=reported[EPOCHS] if last == EPOCHS else None,
                params=parameters,
                distributions={name: distributions[name] for name in parameters},
                intermediate_values=reported,
            )
        )
    return study


def proposals(study: optuna.Study, count: int = 12) -> list[dict[str, Any]]:
    found = []
    for seed in range(count):
        study.sampler = CurvesSampler(SPACE, seed, RUNGS, EPOCHS)
        trial = study.ask()
        found.append(SPACE.draw(lambda name, _, asked=trial: suggest(asked, name)))
    return found


def suggest(trial: optuna.Trial, name: str) -> Any:
    if name == "optimizer":
        return trial.suggest_categorical(name, ["adam", "sgd"])
    if name == "momentum":
        return trial.suggest_float(name, 0.5, 0.9)
    return trial.suggest_float(name, 1e-4, 1e-1, log=True)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.slow
def test_proposals_lie_where_curves_end_high(sign: int) -> None:
    found = proposals(told_study(30, sign=sign))
    near = [p for p in found if abs(math.log10(p["learning_rate"]) + 2.5) < 0.6]
    assert len(near) >= 7
    assert sum(p["optimizer"] == "adam" for p in found) >= 7


def test_same_trials_give_the_same_proposal() -> None:
    assert proposals(told_study(25), 3) == proposals(told_study(25), 3)


@pytest.mark.slow
def test_trials_in_flight_are_not_proposed_again() -> None:
    found = proposals(told_study(30))
    rates = sorted(math.log10(p["learning_rate"]) for p in found)
    assert len({round(rate, 3) for rate in rates}) == len(rates)


def test_proposals_leave_what_cannot_be_trained() -> None:
    found = proposals(told_study(40, diverges=True))
    assert sum(p["learning_rate"] < 2e-3 for p in found) >= 8


def test_study_without_completed_trials_is_enough() -> None:
    study = told_study(20)
    few = optuna.create_study(direction="maximize")
    few.add_trials([trial for trial in study.trials if trial.state == TrialState.PRUNED])
    assert len(proposals(few, 2)) == 2


def test_scores_are_normal_by_rank() -> None:
    scores = normal_scores(np.array([5.0, -math.inf, 100.0, 5.0]))
    assert scores[0] == scores[3] == pytest.approx(0.0)
    assert scores[1] == pytest.approx(-scores[2])


def test_improvement_counts_what_is_uncertain() -> None:
    gain = expected_improvement(np.array([0.0, 0.0, 1.0]), np.array([0.1, 1.0, 0.1]), 0.5)
    assert gain[0] < gain[1] < gain[2]
    assert gain[2] == pytest.approx(0.5, abs=1e-3)
