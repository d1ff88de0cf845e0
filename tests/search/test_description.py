"""The sampler and the stopping rule in words."""

from typing import Any, get_args

import pytest

from tests.support.schedulers import AS_RAY
from tuner.config.sections import Search
from tuner.config.study import parse_spec
from tuner.search.description import describe_rule, describe_sampler

SAMPLERS = get_args(Search.model_fields["sampler"].annotation)


def study(sampler: str = "tpe", stopping: Any = "none", **changes: Any) -> Any:
    raw = {"study": "s", "training": {"architecture": "vazquez_base"}, "space": {}}
    return parse_spec(raw | {"search": {"sampler": sampler}, "stopping": stopping} | changes)


def test_rule_names_the_fronts_of_several_objectives() -> None:
    two = [{"maximize": "val_accuracy"}, {"minimize": "val_loss"}]
    assert "ranked by fronts" in describe_rule(study(objective=two, stopping="asha"))
    assert "fronts" not in describe_rule(study(stopping="asha"))


def test_every_sampler_has_words() -> None:
    words = [describe_sampler(study(sampler)) for sampler in SAMPLERS]
    assert len(set(words)) == len(SAMPLERS)


def test_tpe_is_described_as_it_runs() -> None:
    goals = [{"maximize": "val_accuracy"}, {"minimize": "val_loss"}]
    assert "Sobol sequence until 16" in describe_sampler(study("tpe"))
    assert "highest rungs" in describe_sampler(study("tpe", "asha"))
    assert "Sobol" not in describe_sampler(study("tpe", objective=goals))


def test_gp_warns_of_stopped_trials() -> None:
    assert "stopped" in describe_sampler(study("gp", "asha"))
    assert "stopped" not in describe_sampler(study("gp"))


@pytest.mark.parametrize("rule", ["none", "asha", "hyperband", "median"])
def test_rule_names_itself(rule: str) -> None:
    assert describe_rule(study(stopping=rule)).startswith(rule)


def test_rule_names_its_factor() -> None:
    assert "best 1/4 go on" in describe_rule(study(stopping={"asha": {"reduction_factor": 4}}))


def test_rule_says_whether_trials_wait() -> None:
    promote, stop = ({"asha": {"type": name, "min_trials": 4}} for name in ("promote", "stop"))
    assert "trials wait at each rung" in describe_rule(study(stopping=promote))
    assert "nobody before 4 trials have come" in describe_rule(study(stopping=stop))
    assert "nobody" not in describe_rule(study(stopping={"asha": AS_RAY}))
