"""Learned trials in Optuna's form, and how samplers use them."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.search.test_searcher import Driven, bare
from tuner.config.space import Space
from tuner.config.study import StudyConfig, parse_spec
from tuner.search.defaults import default_configuration
from tuner.search.learned import FADED, FEWEST, Learned, LearnedStudy, LearnedTrial, fit_parameters
from tuner.search.standings import FIRST_LEARNED, Standing, Stood, order_by_rungs

SPACE = {"learning_rate": {"float": [1e-4, 1e-1], "log": True}, "dropout": {"float": [0, 0.5]}}
RUNGS = [1, 3]


def spec(sampler: str = "mixed", space: dict[str, Any] = SPACE) -> StudyConfig:
    training = {"architecture": "vazquez_base", "epochs": 9}
    search = {"sampler": sampler, "trials": 12, "learn_from": ["earlier"]}
    return parse_spec({"study": "s", "training": training, "space": space, "search": search, "stopping": "asha"})


def height(rate: float) -> float:
    """Return a value that is best at a learning rate of 0.02."""
    return 1 - abs(math.log10(rate) - math.log10(0.02)) / 4


def earlier(is_same: bool = True, trials: int = 30) -> LearnedStudy:
    rates = [10 ** (-4 + 3 * index / (trials - 1)) for index in range(trials)]
    told = [
        LearnedTrial({"learning_rate": rate, "dropout": 0.1}, {1: height(rate) / 2, 9: height(rate)}, index % 2 == 0)
        for index, rate in enumerate(rates)
    ]
    return LearnedStudy("earlier", is_same, tuple(told), trials)


def proposals(sampler: str, learned: Learned, count: int = 12) -> list[dict[str, Any]]:
    """Return the first proposals of a study whose trials never report."""
    searcher = bare(spec(sampler), learned=learned)
    configs = [searcher.suggest(str(index)) for index in range(count)]
    return [config["parameters"] for config in configs if isinstance(config, dict)]


def test_best_learned_trials_come_first() -> None:
    learned = Learned(spec(), [earlier(is_same=False)])
    found = proposals("mixed", learned, 4)
    assert found[:3] == learned.best
    assert Learned(spec(), [earlier()]).best == learned.best[:1]
    assert all(height(one["learning_rate"]) > 0.9 for one in found[:3])
    assert found[3] == default_configuration(spec())


@pytest.mark.parametrize("sampler", ["tpe", "curves"])
@pytest.mark.parametrize("is_same", [True, False])
def test_first_proposals_stay_near_good_learned_ones(sampler: str, is_same: bool) -> None:
    learned = Learned(spec(sampler), [earlier(is_same)])
    guided = [index for index in range(4, 12) if learned.guides(index)]
    assert len(guided) == (8 if is_same else 4)
    found = proposals(sampler, learned)
    heights = [height(found[index]["learning_rate"]) for index in guided]
    assert sum(value > 0.75 for value in heights) > 0.7 * len(heights)


def stood(count: int, better: int = 1) -> list[Stood]:
    """Return own trials whose order agrees with the earlier study's, or is the opposite."""
    told = earlier(trials=max(count, 2)).trials[:count]
    (learned,) = [Learned(spec(), [replace(earlier(), trials=told)])]
    return [(Standing(0, better * height(trial.params["learning_rate"])), trial) for trial in learned.same]


def test_another_task_fades_as_own_trials_report() -> None:
    learned = Learned(spec(), [earlier(is_same=False)])
    counts = [sum(map(len, learned.others(stood(own), RUNGS))) for own in (0, FEWEST - 1, 24, FADED - 1, FADED)]
    assert counts[:2] == [30, 30]
    assert 15 < counts[2] <= 24
    assert counts[3:] == [1, 0]
    assert learned.same == []
    assert len(Learned(spec(), [earlier()]).same) == 30


def test_task_of_another_order_tells_nothing() -> None:
    learned = Learned(spec(), [earlier(is_same=False)])
    assert learned.others(stood(FEWEST, better=-1), RUNGS) == []
    assert len(learned.others(stood(FEWEST), RUNGS)[0]) > 25


def test_another_task_is_compared_with_itself_only() -> None:
    own = bare(spec()).study
    merged = order_by_rungs(own, RUNGS, Learned(spec(), [earlier(is_same=False)]))
    assert [trial.number - FIRST_LEARNED for trial in merged] == list(range(30))
    raw = order_by_rungs(own, RUNGS, Learned(spec(), [earlier()]))
    assert max(max(trial.intermediate_values.values()) for trial in raw) == pytest.approx(1, abs=0.02)


def test_learned_study_survives_json() -> None:
    assert LearnedStudy.from_dict(json.loads(json.dumps(earlier().to_dict()))) == earlier()


def test_fit_follows_conditions() -> None:
    nested = spec(
        space={
            "optimizer": {"choice": ["adam", "sgd"]},
            "momentum": {"float": [0, 0.9], "when": {"optimizer": "sgd"}},
        }
    ).space
    assert fit_parameters(nested, {"optimizer": "adam"}, {"momentum": 5}) == {"optimizer": "adam"}
    assert fit_parameters(nested, {"optimizer": "sgd"}, {"momentum": 0.5}) == {"optimizer": "sgd", "momentum": 0.5}
    assert fit_parameters(nested, {"optimizer": "sgd"}, {}) == "momentum"
    assert fit_parameters(nested, {"optimizer": "lion"}, {}) == "optimizer"


def test_fit_takes_the_nearest_epochs() -> None:
    space = Space.model_validate({"epochs": {"choice": [5, 10]}})
    assert fit_parameters(space, {"epochs": 12}, {}) == {"epochs": 10}


@pytest.mark.parametrize("is_same", [True, False])
@pytest.mark.slow
def test_interrupted_study_learns_the_same(is_same: bool, tmp_path: Path) -> None:
    learned, first = Learned(spec("tpe"), [earlier(is_same)]), 1 if is_same else 3
    run = Driven(spec("tpe"), tmp_path / "whole", slots=1, learned=learned).run()
    whole = {proposal.number: proposal for proposal in run.proposals}
    assert [whole[number].origin for number in range(5)] == ["learn_from"] * first + ["tpe"] * (5 - first)
    before = Driven(spec("tpe"), tmp_path / "part", slots=1, learned=learned).run(17)
    after = before.killed().run()
    assert {proposal.number: proposal for proposal in [*before.proposals, *after.proposals]} == whole
