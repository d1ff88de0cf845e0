"""Published weights in caches of a test's own, as if the libraries had downloaded them."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tuner import models
from tuner.config.published import describe_published

TINY = "timm:test_resnet"
"""The smallest network of timm that has weights."""


def use_caches(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process and its children look for published weights below a folder."""
    from huggingface_hub import constants

    monkeypatch.setenv("TORCH_HOME", str(folder / "torch"))
    monkeypatch.setenv("HF_HUB_CACHE", str(folder / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub"))


def publish(architecture: str, classes: int = 1000, seed: int = 1) -> Path:
    """Put weights from a seed where a network's library keeps them. Return the file."""
    weights = describe_published(architecture)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = models.build(architecture, in_channels=3, classes=classes, image_size=weights.image_size)
    if not weights.hub:
        file = Path(os.environ["TORCH_HOME"], "hub", "checkpoints", weights.url.rpartition("/")[2])
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(network.state_dict(), file)
        return file
    repository = Path(os.environ["HF_HUB_CACHE"], f"models--{weights.hub.replace('/', '--')}")
    file = repository / "snapshots" / "0123" / weights.files[0]
    for folder in (file.parent, repository / "refs"):
        folder.mkdir(parents=True, exist_ok=True)
    (repository / "refs" / "main").write_text("0123")
    save_file(network.state_dict(), file)
    return file
