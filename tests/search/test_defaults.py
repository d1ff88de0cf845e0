"""The first configuration: the defaults, as near as the space allows."""

from typing import Any

import pytest

from tuner.config.study import parse_spec
from tuner.search.defaults import default_configuration


def first(space: dict[str, Any], architecture: str = "vazquez_base") -> dict[str, Any]:
    training = {} if "architecture" in space else {"architecture": architecture}
    dataset = {"name": "cifar10"}
    spec = {"study": "s", "dataset": dataset, "training": training, "space": space}
    return default_configuration(parse_spec(spec))


def test_default_of_recipe_and_architecture() -> None:
    space = {
        "learning_rate": {"float": [1e-4, 1e-1], "log": True},
        "batch_size": {"choice": [16, 64, 256]},
        "optimizer": {"choice": ["sgd", "adam"]},
        "filters": {"int": [8, 64]},
        "dropout": {"float": [0, 0.6], "step": 0.2},
    }
    expected = {"learning_rate": 1e-3, "batch_size": 64, "optimizer": "adam"}
    assert first(space) == expected | {"filters": 32, "dropout": 0.0}


@pytest.mark.parametrize(
    ("name", "parameter", "expected"),
    [
        ("learning_rate", {"float": [0.01, 0.1]}, 0.01),
        ("learning_rate", {"choice": [0.0004, 0.003]}, 0.0004),  # 2.5 and 3 times away
        ("batch_size", {"int": [100, 900], "step": 300}, 100),
        ("dense", {"int": [10, 100], "step": 60}, 70),
        ("optimizer", {"choice": ["sgd", "adamw"]}, "sgd"),
        ("dropout", {"choice": [0.3, 0.6]}, 0.3),
    ],
)
def test_default_outside_the_space(name: str, parameter: Any, expected: Any) -> None:
    found = first({name: parameter})[name]
    assert found == expected
    assert type(found) is type(expected)


def test_default_follows_conditions() -> None:
    space = {
        "architecture": {"choice": ["vazquez_deep", "vazquez_base"]},
        "dropout_dense": {"float": [0, 0.6], "when": {"architecture": "vazquez_deep"}},
        "filters": {"int": [8, 64], "when": {"architecture": "vazquez_base"}},
        "momentum": 0.5,
    }
    assert first(space) == {"architecture": "vazquez_deep", "dropout_dense": 0.5, "momentum": 0.5}
