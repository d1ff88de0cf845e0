"""What is known of a trial before its training."""

from pathlib import Path

import pytest

from tuner.config.study import parse_spec
from tuner.data import load
from tuner.data.device import device_data
from tuner.study.constraints import KnownBefore
from tuner.training.loop import Trainer


@pytest.mark.parametrize("architecture", ["vazquez_bn", "resnet9", "tests.support.networks:Tiny"])
def test_known_parameters_are_those_of_the_training(architecture: str, tmp_path: Path) -> None:
    training = {"architecture": architecture}
    spec = parse_spec(
        {"study": "s", "training": training, "space": {}, "constraints": {"parameters_count": {"max": 9}}}
    )
    dataset = load(spec.dataset, cache=tmp_path)
    trainer = Trainer(spec.training_config({}), device_data(dataset.folder, spec.dataset, "cpu"))
    assert KnownBefore(spec, dataset)({}) == {"parameters_count": trainer.parameters_count}
    free = spec.model_copy(update={"constraints": {}})
    assert KnownBefore(free, dataset)({}) == {}
