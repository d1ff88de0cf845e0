"""Training on images that are larger than memory."""

from pathlib import Path

import pytest

from tuner.config.dataset import DatasetConfig
from tuner.config.training import TrainingConfig
from tuner.data import load, streaming
from tuner.data.device import DeviceDataset
from tuner.training.loop import EpochResult, Trainer

pytestmark = pytest.mark.usefixtures("one_thread")


def test_training_from_disk_gives_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrainingConfig(architecture="vazquez_base", epochs=2, mixup=0.2, dropout=0.1)
    results: list[list[EpochResult]] = []
    for share in (1, 0):
        monkeypatch.setattr(streaming, "LARGEST_SHARE", share)
        data = DeviceDataset.open(load(DatasetConfig(train=300), cache=tmp_path), DatasetConfig(train=300))
        assert (data.train.mapped is None) == bool(share)
        results.append([*Trainer(config, data, seed=1)])
    numbers = [[(each.train_loss, each.val_loss, each.val_accuracy) for each in result] for result in results]
    assert numbers[0] == numbers[1]
