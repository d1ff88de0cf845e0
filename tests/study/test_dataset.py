"""A study's networks, tried on its images before anything starts."""

from typing import Any

import pytest
import torch

from tuner.config.study import StudyConfig, parse_spec
from tuner.errors import SpecError
from tuner.study.dataset import load_fitting


def study(name: str, **space: Any) -> StudyConfig:
    return parse_spec({"study": "a", "training": {"architecture": f"tests.support.networks:{name}"}, "space": space})


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Wavering", "RuntimeError: mat1 and mat2 cannot be multiplied"),
        ("Detached", "RuntimeError: element 0 of tensors does not require grad and does not have a grad_fn"),
    ],
)
def test_network_that_fails_only_in_training_is_refused(name: str, reason: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_fitting(study(name), None)
    assert str(caught.value) == f"architecture: tests.support.networks:{name} fails in training: {reason}"


def test_trying_a_network_leaves_random_numbers_alone() -> None:
    before = torch.get_rng_state()
    load_fitting(study("Tiny", units={"int": [4, 10**12]}), None)  # of which the smallest is built
    assert torch.equal(torch.get_rng_state(), before)


def test_positional_hyperparameter_is_told_its_star() -> None:
    with pytest.raises(SpecError, match=r"space.units: tests.support.networks:Loose takes it without a keyword; write"):
        study("Loose", units={"int": [4, 8]})


def test_default_of_zero_may_be_a_float() -> None:
    assert study("Loose", rate={"float": [0, 0.5]}).training_config({"rate": 0.25}).hyperparameters["rate"] == 0.25
    line = r"scale: found 0.25; allowed: a whole number, as its default 0; a default of 0.0 allows fractions$"
    with pytest.raises(SpecError, match=line):
        study("Loose", scale={"float": [0.25, 0.5]})
