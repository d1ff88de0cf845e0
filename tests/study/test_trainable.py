"""A worker's trial, run in this process."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.published import TINY, publish, use_caches
from tuner import data, models
from tuner.cluster.preflight import versions
from tuner.config.study import StudyConfig, parse_spec
from tuner.data.weights import hash_all, hash_weights
from tuner.errors import StudyError
from tuner.results.folder import StudyFolder
from tuner.results.identity import identify
from tuner.study.trainable import TrialContext, TrialTrainable

NET = """
from torch import nn


class Net(nn.Sequential):
    def __init__(self, in_channels, classes, image_size, *, width=4):
        super().__init__(nn.Flatten(), nn.Linear(in_channels * image_size**2, classes))
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module with a network, below the import path."""
    file = tmp_path / f"net_{tmp_path.name}.py"
    file.write_text(NET)
    monkeypatch.syspath_prepend(tmp_path)
    return file


def begin(spec: StudyConfig, folder: Path, **context: Any) -> TrialTrainable:
    """A worker with the first trial of a study that has just begun."""
    dataset = data.load(spec.dataset)
    study = StudyFolder(folder)
    study.write_spec(spec)
    study.write_identity(identify(spec, dataset.fingerprint, hash_all(spec.weights, None)))
    trial = TrialTrainable.__new__(TrialTrainable)  # without Ray's own set-up
    proposal = {"number": 0, "parameters": {}, "seed": 0, "purpose": "search"}
    trial.setup(proposal, TrialContext(spec, str(folder), dataset.folder, "cpu", **context))
    return trial


def test_trial_refuses_other_versions_than_the_driver(tmp_path: Path) -> None:
    training = {"architecture": "torchvision:resnet18", "epochs": 1}
    spec = parse_spec({"study": "s", "training": training, "space": {}})
    of_driver = versions(spec) | {"torchvision": "0.1"}
    trial = begin(spec, tmp_path / "s", versions=of_driver)
    with pytest.raises(StudyError, match=r"^this node has torchvision .*, but the driver has 0\.1; nodes must have"):
        trial.step()


def test_trial_refuses_a_network_edited_meanwhile(module: Path, tmp_path: Path) -> None:
    training = {"architecture": f"{module.stem}:Net", "epochs": 1}
    trial = begin(parse_spec({"study": "s", "training": training, "space": {}}), tmp_path / "s")
    module.write_text(NET.replace("classes))", "classes), nn.ReLU())"))
    with pytest.raises(StudyError, match="edited while the study runs"):
        trial.step()
    module.write_text(f"# restored\n{NET}")
    trial.reset_config(trial.config)
    assert trial.step()["epoch"] == 1


def test_trial_refuses_weights_edited_meanwhile(tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"

    def save(seed: int) -> None:
        torch.manual_seed(seed)
        torch.save(models.build("vazquez_base", in_channels=1, classes=10, image_size=8).state_dict(), file)

    save(1)
    training = {"architecture": "vazquez_base", "epochs": 1, "pretrained": str(file)}
    trial = begin(parse_spec({"study": "s", "training": training, "space": {}}), tmp_path / "s")
    save(2)
    with pytest.raises(StudyError, match=r"^weights .*weights\.pt: \w{12} -> \w{12}: edited while the study runs"):
        trial.step()
    save(1)
    trial.reset_config(trial.config)
    assert trial.step()["epoch"] == 1


@pytest.mark.slow
def test_trial_starts_from_published_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_caches(tmp_path, monkeypatch)
    file = publish(TINY)
    dataset = {"name": "digits", "image_size": 16, "train": 200, "validation": 0.2}
    training = {"architecture": TINY, "epochs": 1, "pretrained": True}
    trial = begin(parse_spec({"study": "s", "dataset": dataset, "training": training, "space": {}}), tmp_path / "s")
    kept = StudyFolder(tmp_path / "s").identity()
    assert kept is not None
    assert kept["weights test_resnet.r160_in1k"] == hash_weights(file)
    publish(TINY, seed=2)
    with pytest.raises(StudyError, match=r"^weights test_resnet\.r160_in1k: \w{12} -> \w{12}: edited while"):
        trial.step()
    publish(TINY)
    trial.reset_config(trial.config)
    assert trial.step()["epoch"] == 1
