"""Trainings that start from pretrained weights."""

from pathlib import Path

import pytest
import torch

from tests.support.efficientnet_lite import WEIGHTS
from tuner.config.dataset import DatasetConfig
from tuner.config.study import parse_spec
from tuner.config.training import TrainingConfig
from tuner.data import load
from tuner.data.device import DeviceDataset
from tuner.training.checkpoint import identity
from tuner.training.loop import Trainer

pytestmark = pytest.mark.usefixtures("one_thread")
EFFICIENTNET = "tests.support.efficientnet_lite:EfficientNetLite0"


def opened(config: DatasetConfig, cache: Path) -> DeviceDataset:
    return DeviceDataset.open(load(config, cache=cache), config)


@pytest.mark.slow
def test_fine_tuned_network_beats_untrained_one(tmp_path: Path) -> None:
    upscaled = DatasetConfig(image_size=48, train=160, validation={"next": 60}, pixels="symmetric")  # type: ignore[arg-type]
    data = opened(upscaled, tmp_path)
    accuracy = {}
    for pretrained in (False, WEIGHTS):
        config = TrainingConfig(architecture=EFFICIENTNET, pretrained=pretrained, epochs=1, batch_size=16)
        accuracy[pretrained] = [result.val_accuracy for result in Trainer(config, data, seed=3)]
    assert len(accuracy[WEIGHTS]) == len(accuracy[False]) == 1
    assert accuracy[WEIGHTS][-1] > accuracy[False][-1] + 0.2


def test_pretrained_network_learns_from_its_weights(tmp_path: Path) -> None:
    data = opened(DatasetConfig(), tmp_path)
    long = TrainingConfig(architecture="vazquez_base", epochs=3)
    trained = Trainer(long, data, seed=1)
    last = [*trained][-1]
    torch.save(trained.model.state_dict(), tmp_path / "weights.pt")
    again = Trainer(long.model_copy(update={"pretrained": str(tmp_path / "weights.pt")}), data, seed=2)
    assert again.evaluate(data.validation) == (last.val_loss, last.val_accuracy)


def test_pixels_follow_the_published_weights(tmp_path: Path) -> None:
    data = opened(DatasetConfig(pixels="auto"), tmp_path)
    assert data.scaled_for("vazquez_base") is data
    assert data.scale.flatten().tolist() == pytest.approx([1 / 255])
    scaled = data.scaled_for("torchvision:squeezenet1_1")
    assert scaled.scale.flatten().tolist() == pytest.approx([1 / (255 * 0.226)])
    assert scaled.offset.flatten().tolist() == pytest.approx([-0.449 / 0.226])
    plain = opened(DatasetConfig(), tmp_path)
    assert plain.scaled_for("torchvision:squeezenet1_1") is plain


def test_weights_are_part_of_a_checkpoint_of_new_studies_only() -> None:
    spec = parse_spec(
        {
            "study": "s",
            "dataset": {"name": "mnist"},
            "training": {"architecture": "lenet5"},
            "space": {"learning_rate": {"float": [1e-4, 1e-1]}, "pretrained": {"choice": [False, "a.pt"]}},
        }
    )
    parameters = {"learning_rate": 0.01, "pretrained": False}
    before = "86b5cab1f0f29326ba1857a3c5d3e6f4"  # as computed by the version without pretrained weights
    assert identity(spec, Path("mnist-0"), parameters, 3) == before
    assert identity(spec, Path("mnist-0"), {**parameters, "pretrained": "a.pt"}, 3) != before
