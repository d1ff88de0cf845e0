"""Images that are larger than memory, read ahead of the training."""

from collections.abc import Iterator
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.image_files import noise
from tuner.config.dataset import DatasetConfig
from tuner.data import Dataset, streaming
from tuner.data.dataset import Part, write
from tuner.data.device import DeviceDataset
from tuner.data.streaming import AHEAD, is_larger, read_ahead

CPU = torch.device("cpu")


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    labels = np.resize(np.arange(4), 60)
    train, test = Part(noise(60, 3, 50, 50), labels), Part(noise(8, 3, 50, 50, seed=1), labels[:8])
    write(tmp_path / "entry", "noise", "0", tuple("abcd"), train, test)
    return Dataset.open(tmp_path / "entry")


@pytest.fixture
def no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every set be larger than memory."""
    monkeypatch.setattr(streaming, "LARGEST_SHARE", 0)


@pytest.mark.usefixtures("no_memory")
@pytest.mark.parametrize("validation", [0.2, {"next": 12}, {"last": 0.2}])
def test_streamed_images_are_those_of_the_data_set(validation: object, dataset: Dataset) -> None:
    config = DatasetConfig.model_validate({"validation": validation, "train": 48, "pixels": "standard"})
    streamed = DeviceDataset.open(dataset, config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "LARGEST_SHARE", 1)
        plain = DeviceDataset.open(dataset, config)
    assert torch.equal(streamed.scale, plain.scale)
    for part in ("train", "validation", "test"):
        one, other = getattr(streamed, part), getattr(plain, part)
        assert one.mapped is not None
        assert other.mapped is None
        steps = list(torch.randperm(len(one), generator=torch.Generator().manual_seed(0)).split(5))
        for (images, labels), indices in zip(one.batches(steps), steps, strict=True):
            assert torch.equal(images, other.batch(indices)[0])
            assert torch.equal(labels, other.batch(indices)[1])
        assert torch.equal(one.batch(slice(2, 7))[0], other.batch(slice(2, 7))[0])


def test_images_are_read_ahead_of_their_use() -> None:
    read: list[int] = []
    ready = [Event() for _ in range(10)]

    def get(step: Tensor) -> int:
        read.append(int(step))
        ready[int(step)].set()
        return int(step)

    batches = read_ahead(get, [*torch.arange(10)])
    for number in range(10):
        assert next(batches) == number
        assert ready[min(number + AHEAD, 9)].wait(60)
        assert len(read) <= number + AHEAD + 1
    assert next(batches, None) is None


def test_error_of_a_read_reaches_the_training() -> None:
    def get(step: Tensor) -> int:
        if step == 3:
            raise OSError("disk")
        return int(step)

    found: list[int] = []

    def use(batches: Iterator[int]) -> None:
        found.extend(batches)

    with pytest.raises(OSError, match="disk"):
        use(read_ahead(get, [*torch.arange(6)]))
    assert found == [0, 1, 2]


def test_large_means_half_of_what_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "_limits", lambda: iter([1000, 1 << 60]))
    assert is_larger(501, CPU)
    assert not is_larger(500, CPU)
    monkeypatch.setattr(streaming, "_limits", lambda: iter([]))
    assert not is_larger(1000, CPU)
    assert is_larger(1 << 60, CPU)


def test_memory_limits_are_those_of_all_groups_above(tmp_path: Path) -> None:
    (tmp_path / "job/step").mkdir(parents=True)
    (tmp_path / "job/memory.max").write_text("4096\n")
    (tmp_path / "job/step/memory.max").write_text("max\n")
    membership = tmp_path / "cgroup"
    membership.write_text("0::/job/step\n")
    assert list(streaming._limits(membership, tmp_path)) == [4096]
    (tmp_path / "memory").mkdir()  # as in a container of the first version, which sees its own group at the top
    (tmp_path / "memory/memory.limit_in_bytes").write_text("8192\n")
    membership.write_text("3:cpu:/docker/1\n2:memory:/docker/1\n")
    assert list(streaming._limits(membership, tmp_path)) == [8192]
