"""Sharing of a GPU, and the trials that are measured on it."""

import pytest

from tuner import data
from tuner.cluster.placement import share_of_a_gpu, trials_on_a_gpu
from tuner.cluster.slots import TrialResources
from tuner.config.study import parse_spec
from tuner.data.device import DeviceDataset
from tuner.training.memory_need import MemoryNeed
from tuner.training.probe import largest_recipes, one_step

GB = 1 << 30


@pytest.mark.parametrize(
    ("cores", "gpus", "cpu", "need", "trials"),
    [
        (64, 1, 1, 2 * GB, 7),  # 95 % of 16 GB
        (4, 1, 1, 2 * GB, 4),  # one per core
        (16, 2, 2, GB, 4),
        (1, 1, 2, GB, 1),
        (64, 1, 1, 16 * GB, 1),
    ],
)
def test_trials_share_gpu_by_memory_and_cores(cores: int, gpus: int, cpu: int, need: int, trials: int) -> None:
    fitting = trials_on_a_gpu({"CPU": cores, "GPU": gpus}, cpu, MemoryNeed("lenet5", need, 16 * GB))
    assert fitting == trials


@pytest.mark.parametrize("trials", range(1, 65))
def test_share_of_a_gpu_fills_it_exactly(trials: int) -> None:
    share = share_of_a_gpu(trials)
    assert trials * share <= 1
    assert int(1 / share + 1e-9) == trials


def test_trial_resources_read_as_words() -> None:
    assert str(TrialResources(1, 0)) == "1 core"
    assert str(TrialResources(2, 0.25)) == "2 cores and 0.25 GPU"


def test_largest_recipes_maximize_every_number() -> None:
    spec = parse_spec(
        {
            "study": "sizes",
            "dataset": {"name": "digits", "image_size": 12},
            "training": {"epochs": 1},
            "space": {
                "architecture": {"choice": ["vazquez_deep", "vazquez_base"]},
                "batch_size": {"choice": [32, 256, 64]},
                "dense": {"int": [16, 512], "when": {"architecture": "vazquez_base"}},
                "learning_rate": {"float": [1e-4, 1e-1], "log": True},
            },
        }
    )
    deep, base = largest_recipes(spec)
    assert (deep.architecture, deep.batch_size) == ("vazquez_deep", 256)
    assert (base.architecture, base.batch_size, base.hyperparameters["dense"]) == ("vazquez_base", 256, 512)
    digits = spec.dataset
    one_step(base, DeviceDataset.open(data.load(digits), digits))
