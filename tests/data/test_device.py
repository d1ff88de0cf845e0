import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.cuda import needs_cuda
from tests.support.image_files import noise, write_parquet
from tuner.config.dataset import DatasetConfig, NextImages
from tuner.config.study import parse_spec
from tuner.data import Dataset, load, split
from tuner.data.device import DeviceDataset, device_data
from tuner.errors import SpecError


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Two classes of 40 RGB images of 6x6, in turn, with 10 test images."""
    for part, count in (("train", 80), ("test", 10)):
        labels = np.resize([0, 1], count)
        write_parquet(tmp_path / "shapes" / f"{part}.parquet", noise(count, 6, 6, 3), labels, "ab")
    return load(DatasetConfig(name=str(tmp_path / "shapes")), None, tmp_path)


@pytest.mark.parametrize("validation", [20, 0.25, {"last": 0.25}])
def test_batch_holds_images_and_labels_of_split(dataset: Dataset, validation: object) -> None:
    config = DatasetConfig.model_validate({"validation": validation})
    data, parts = DeviceDataset.open(dataset, config), split(dataset, config)
    assert (len(data.train), len(data.validation), len(data.test)) == (60, 20, 10)
    assert (data.in_channels, data.image_size, data.classes) == (3, 6, ("a", "b"))
    for part, indices in ((data.train, parts.train), (data.validation, parts.validation)):
        order = torch.randperm(len(part), generator=torch.Generator().manual_seed(0))
        images, labels = part.batch(order[5:12])
        assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
        assert np.array_equal(images.numpy(), dataset.train_images[indices[order[5:12].numpy()]])
        assert np.array_equal(labels.numpy(), dataset.train_labels[indices[order[5:12].numpy()]])
        images, labels = part.batch(slice(5, 12))
        assert np.array_equal(images.numpy(), dataset.train_images[indices[5:12]])
        assert np.array_equal(part.images.numpy(), dataset.train_images[indices])
        assert np.array_equal(part.labels.numpy(), dataset.train_labels[indices])
    assert np.array_equal(data.test.images.numpy(), dataset.test_images)


def test_batch_may_be_smaller_at_the_end(dataset: Dataset) -> None:
    data = DeviceDataset.open(dataset, DatasetConfig(validation=20))
    order = torch.arange(len(data.train))
    assert [len(data.train.batch(order[start : start + 32])[1]) for start in range(0, 60, 32)] == [32, 28]
    assert [len(data.train.batch(slice(start, start + 32))[1]) for start in range(0, 60, 32)] == [32, 28]


def test_subset_keeps_file_order(dataset: Dataset) -> None:
    data = DeviceDataset.open(dataset, DatasetConfig(train=50, validation=NextImages(next=10)))
    assert np.array_equal(data.validation.batch(torch.arange(10))[0].numpy(), dataset.train_images[50:60])
    published = DeviceDataset.open(dataset, DatasetConfig(validation="test"))
    assert published.validation_is_test
    assert published.validation is published.test
    assert np.array_equal(published.train.images.numpy(), dataset.train_images)


@pytest.mark.slow
def test_subset_on_cpu_stays_mapped(tmp_path: Path) -> None:
    """Neither opening 80 MB of images nor cutting a batch may copy them."""
    from tuner.data.dataset import Part, write

    labels = np.resize(np.arange(10), 20_000)
    train = Part(np.ones((20_000, 1, 64, 64), np.uint8), labels)
    write(tmp_path / "entry", "large", "0", tuple("0123456789"), train, Part(train.images[:10], labels[:10]))
    code = (
        "import sys; from pathlib import Path\n"
        "from tuner.config.dataset import DatasetConfig; from tuner.data import Dataset\n"
        "from tuner.data.device import DeviceDataset; import torch\n"
        "def private():\n"
        "    fields = dict(line.split(':') for line in open('/proc/self/status') if line.startswith('RssAnon'))\n"
        "    return int(fields['RssAnon'].split()[0]) * 1024\n"
        "before, dataset = private(), Dataset.open(Path(sys.argv[1]))\n"
        "for validation in ({'last': 0.2}, 5000):\n"
        "    config = DatasetConfig.model_validate({'validation': validation})\n"
        "    data = DeviceDataset.open(dataset, config)\n"
        "    for start in range(0, len(data.train), 100):\n"
        "        assert data.train.batch(torch.arange(start, start + 100))[0].all()\n"
        "    print(private() - before)"
    )
    if not Path("/proc/self/status").exists():
        pytest.skip("needs Linux to tell private memory from mapped files")
    ran = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "entry"], capture_output=True, text=True, check=True, env=os.environ
    )
    assert [int(line) < 20e6 for line in ran.stdout.split()] == [True, True]


def test_subset_write_does_not_reach_the_file(dataset: Dataset) -> None:
    data = DeviceDataset.open(dataset, DatasetConfig(validation="test"))
    data.train.batch(slice(0, 10))[0].zero_()
    assert Dataset.open(dataset.folder).train_images[:10].any()


def test_normalize_scales_as_the_study_says(dataset: Dataset) -> None:
    batch = torch.from_numpy(noise(8, 3, 6, 6))
    plain = batch.numpy().astype(np.float64)
    training = dataset.train_images[split(dataset, DatasetConfig()).train] / 255
    mean, deviation = (moment(training, axis=(0, 2, 3)).reshape(3, 1, 1) for moment in (np.mean, np.std))
    expected = {
        "unit": plain / 255,
        "symmetric": plain / 255 * 2 - 1,
        "standard": (plain / 255 - mean) / deviation,
        "raw": plain,
    }
    for pixels, values in expected.items():
        normalized = DeviceDataset.open(dataset, DatasetConfig.model_validate({"pixels": pixels})).normalize(batch)
        assert normalized.dtype == torch.float32
        np.testing.assert_allclose(normalized.numpy(), values, rtol=1e-5, atol=1e-5)


def test_normalize_standard_uses_training_images_only(dataset: Dataset) -> None:
    data = DeviceDataset.open(dataset, DatasetConfig(pixels="standard", train=40, validation=NextImages(next=20)))
    training = data.normalize(data.train.images)
    assert torch.allclose(training.mean((0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(training.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5)
    assert not torch.allclose(data.normalize(data.validation.images).mean((0, 2, 3)), torch.zeros(3), atol=1e-5)


def test_normalize_survives_a_constant_channel(tmp_path: Path) -> None:
    from tuner.data.dataset import Part, write

    part = Part(np.full((20, 1, 4, 4), 7, np.uint8), np.resize(np.arange(2), 20))
    write(tmp_path / "entry", "flat", "0", ("a", "b"), part, part)
    data = DeviceDataset.open(Dataset.open(tmp_path / "entry"), DatasetConfig(pixels="standard"))
    assert torch.allclose(data.normalize(data.train.images), torch.zeros(1), atol=1e-6)


def test_normalize_leaves_its_argument_alone(dataset: Dataset) -> None:
    data = DeviceDataset.open(dataset, DatasetConfig())
    floats = torch.full((2, 3, 6, 6), 51.0)
    assert torch.allclose(data.normalize(floats), torch.tensor(0.2))
    assert floats.eq(51).all()


def test_device_data_opens_once_per_worker(dataset: Dataset) -> None:
    first = device_data(dataset.folder, DatasetConfig(validation=20), "cpu")
    assert device_data(dataset.folder, DatasetConfig(validation=20), "cpu") is first
    assert device_data(dataset.folder, DatasetConfig(validation=10), "cpu") is not first


@needs_cuda
def test_subset_on_gpu_equals_cpu(dataset: Dataset) -> None:
    config = DatasetConfig(validation=20, pixels="standard")
    on_cpu, on_gpu = DeviceDataset.open(dataset, config), DeviceDataset.open(dataset, config, "cuda")
    order = torch.randperm(60)
    (images, labels), (gpu_images, gpu_labels) = on_cpu.train.batch(order[:32]), on_gpu.train.batch(order[:32])
    assert gpu_images.is_cuda
    assert torch.equal(images, gpu_images.cpu())
    assert torch.equal(labels, gpu_labels.cpu())
    assert torch.allclose(on_cpu.normalize(images), on_gpu.normalize(gpu_images).cpu(), atol=1e-6)


def test_pixels_are_scaled_by_given_means(dataset: Dataset) -> None:
    means, deviations = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    config = DatasetConfig.model_validate({"validation": 20, "pixels": {"mean": means, "deviation": deviations}})
    data = device_data(dataset.folder, config, "cpu")
    images = data.train.batch(slice(0, 5))[0]
    mean, deviation = (torch.tensor(each).view(1, 3, 1, 1) for each in (means, deviations))
    torch.testing.assert_close(data.normalize(images), (images / 255 - mean) / deviation)


@pytest.mark.parametrize(
    ("pixels", "line"),
    [
        ("unti", "dataset.pixels: found 'unti'; did you mean 'unit'? allowed: auto, raw, standard, symmetric, unit"),
        ({"mean": [2.0], "deviation": [0.5]}, "dataset.pixels.mean[0]: found 2.0; should be less than or equal to 1"),
        ({"mean": [0.5], "deviation": [0.0]}, "dataset.pixels.deviation[0]: found 0.0; should be greater than 0"),
        ({"mean": [0.5], "std": [0.5]}, "dataset.pixels: unknown key 'std'; allowed: deviation, mean"),
    ],
)
def test_pixels_out_of_bounds_are_refused(pixels: object, line: str) -> None:
    spec = {"study": "a", "dataset": {"pixels": pixels}, "training": {"architecture": "vazquez_base"}, "space": {}}
    with pytest.raises(SpecError) as caught:
        parse_spec(spec)
    assert "\n" not in str(caught.value)
    assert line in str(caught.value)
