"""Configurations as units and features."""

from typing import Any

import numpy as np
import pytest

from tuner.config.space import Space
from tuner.search.encoding import Encoding

FLAT: dict[str, Any] = {
    "learning_rate": {"float": [1e-4, 1e-1], "log": True},
    "dropout": {"float": [0, 0.5], "step": 0.2},
    "dense": {"int": [32, 512], "log": True},
    "batch_size": {"choice": [128, 32, 64]},
    "optimizer": {"choice": ["adam", "sgd", "adamw"]},
    "kernel": {"choice": [[1, 2], "same", 3]},
    "constant": 5,
}
NESTED: dict[str, Any] = {
    "architecture": {"choice": ["base", "deep"]},
    "dropout": {"float": [0, 0.6], "step": 0.2, "when": {"architecture": "deep"}},
    "momentum": {"float": [0.5, 0.9], "when": {"dropout": [0.0, 0.6], "constant": 5}},
    "constant": 5,
}


def held(space: Space, found: dict[str, Any]) -> bool:
    rate = found.get("learning_rate", 1e-4)
    stepped = (pair for pair in found.items() if pair[0] not in ("learning_rate", "kernel", "momentum"))
    return 1e-4 <= rate <= 1e-1 and all(space[name].holds(value) for name, value in stepped)


@pytest.mark.parametrize("raw", [FLAT, NESTED], ids=["flat", "nested"])
def test_units_come_back_as_parameters(raw: dict[str, Any]) -> None:
    space = Space.model_validate(raw)
    encoding, random = Encoding(space), np.random.default_rng(0)
    units = encoding.draw(200, random)
    for row in [*units, *encoding.change(units, random)]:
        found = encoding.parameters(row)
        assert held(space, found)
        assert encoding.units(found) == pytest.approx(row, nan_ok=True)
        again = encoding.parameters(encoding.units(found))
        assert again | {"learning_rate": 0} == found | {"learning_rate": 0}


def test_inactive_parameter_has_no_unit() -> None:
    encoding = Encoding(Space.model_validate(NESTED))
    units = encoding.draw(100, np.random.default_rng(0))
    is_deep = units[:, 0] > 0.5
    assert (np.isnan(units[:, 1]) == ~is_deep).all()
    assert 20 < is_deep.sum() < 80
    assert encoding.parameters(units[~is_deep][0]) == {"architecture": "base"}
    assert encoding.features(units)[~is_deep][0].tolist() == [pytest.approx(0.5**0.5), 0, 0.5, 0.5]
    full = encoding.units({"architecture": "deep", "dropout": 0.6, "momentum": 0.7})
    assert full.tolist() == [0.75, 1.0, pytest.approx(0.5)]


def test_numbers_keep_their_order_as_choices() -> None:
    encoding = Encoding(Space.model_validate({"batch_size": FLAT["batch_size"]}))
    places = [encoding.units({"batch_size": size})[0] for size in (32, 64, 128)]
    assert places == sorted(places)
    assert encoding.groups == [0]


def test_names_are_equally_far() -> None:
    encoding = Encoding(Space.model_validate({"optimizer": FLAT["optimizer"]}))
    units = np.array([encoding.units({"optimizer": name}) for name in ("adam", "sgd", "adamw")])
    features = encoding.features(units)
    assert encoding.groups == [0, 0, 0]
    apart = np.linalg.norm(features[:, None] - features[None], axis=2)
    assert apart == pytest.approx(1 - np.eye(3))


def test_change_stays_near_but_never_still() -> None:
    space = Space.model_validate({name: FLAT[name] for name in ("learning_rate", "dense")})
    encoding, random = Encoding(space), np.random.default_rng(0)
    start = np.tile(encoding.units({"learning_rate": 1e-3, "dense": 64}), (200, 1))
    changed = encoding.change(start, random)
    assert (changed != start).any(axis=1).all()
    assert np.median(np.abs(changed - start)) < 0.2
