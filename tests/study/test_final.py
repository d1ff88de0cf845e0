"""Final models: trained from a study's folder, kept whole, and loaded by others."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tuner
from tests.support.waiting import PATIENCE
from tuner.config.study import parse_spec
from tuner.data import load
from tuner.data.device import DeviceDataset
from tuner.errors import DataError, SpecError, StudyError
from tuner.results.folder import StudyFolder, StudyResults, load_study
from tuner.results.identity import identify
from tuner.results.tables import now
from tuner.study.final import train_final
from tuner.training.loop import Trainer

DATASET = {"name": "digits", "train": 100, "validation": 40, "pixels": "standard", "augment": {"crop": 1}}
TRAINING = {"architecture": "vazquez_bn", "filters": 4, "dense": 16, "epochs": 2, "batch_size": 20}
pytestmark = pytest.mark.usefixtures("own_cache")

NETWORK = """
import torch
class Net(torch.nn.Sequential):
    def __init__(self, in_channels, classes, image_size):
        super().__init__(torch.nn.Flatten(), torch.nn.Linear(in_channels * image_size**2, classes))
"""
MakeStudy = Callable[..., StudyResults]


@pytest.fixture
def make_study(tmp_path: Path) -> MakeStudy:
    """Write a study's folder, with rows as the recorder writes them."""

    def make(
        values: tuple[float, ...] = (0.7, 0.9, 0.8),
        repeats: dict[int, tuple[float, ...]] | None = None,
        **sections: Any,
    ) -> StudyResults:
        raw = {"study": "s", "dataset": DATASET, "training": TRAINING, "search": {"trials": len(values)}}
        spec = parse_spec(raw | {"space": {"learning_rate": {"float": [1e-4, 1e-1]}}} | sections)
        folder = StudyFolder(tmp_path / "s")
        folder.write_spec(spec)
        folder.write_identity(identify(spec, load(spec.dataset).fingerprint))
        tables = folder.tables(spec)
        repeated = [(value, number) for number, found in (repeats or {}).items() for value in found]
        for number, (value, of) in enumerate([*((value, None) for value in values), *repeated]):
            row = {"study": "s", "number": number, "attempt": 1, "state": "COMPLETE", "value": value}
            row |= {"values": [value], "test_accuracy": value - 0.1, "updated_at": now(), "repeat_of": of}
            row |= {"purpose": "search" if of is None else "repeat", "param_learning_rate": 0.01}
            tables.append("trials", row)
        tables.flush()
        return load_study(tmp_path / "s")

    return make


def test_final_trains_on_validation_images_too(make_study: MakeStudy, tmp_path: Path) -> None:
    said: list[str] = []
    train_final(make_study(), tmp_path / "model", say=said.append)
    assert said[0] == "Trial 1 of s is trained on 140 images"
    assert [line.partition(":")[0] for line in said[1:]] == ["epoch 1/2", "epoch 2/2"]
    about = tuner.load_model(tmp_path / "model").about
    assert about.origin.images == {"training": 140, "test": 360}
    assert about.classes == tuple("0123456789")
    assert about.recipe["epochs"] == 2
    assert about.origin.trial == 1


def test_joined_images_are_both_halves() -> None:
    config = parse_spec({"study": "s", "dataset": DATASET, "training": TRAINING, "space": {}}).dataset
    dataset = load(config)
    halves, joined = (DeviceDataset.open(dataset, config, joined=both) for both in (False, True))
    both = torch.cat([halves.train.images, halves.validation.images])
    assert sorted(map(bytes, joined.train.images.numpy())) == sorted(map(bytes, both.numpy()))
    assert len(joined.train) == 140
    published = config.model_copy(update={"validation": "test"})
    assert len(DeviceDataset.open(dataset, published, joined=True).train) == 100


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_loaded_model_predicts_as_its_trainer(make_study: MakeStudy, tmp_path: Path, ema: float) -> None:
    study = make_study(training={**TRAINING, "ema": ema})
    train_final(study, tmp_path / "model")
    model = tuner.load_model(tmp_path / "model")
    data = DeviceDataset.open(load(study.spec.dataset), study.spec.dataset, joined=True)
    trainer = Trainer(study.spec.training_config({"learning_rate": 0.01}), data, seed=model.about.seed)
    list(trainer)
    expected = trainer.predict(data.test)
    assert torch.equal(model.predict(data.test.images), expected)
    assert torch.allclose(model.predict(data.test.images.numpy()[:7]), expected[:7], atol=1e-6)
    assert model.about.origin.test["test_accuracy"] == trainer.evaluate(data.test)[1]


@pytest.mark.slow
def test_loaded_model_predicts_alike_in_other_process(make_study: MakeStudy, tmp_path: Path) -> None:
    study = make_study()
    train_final(study, tmp_path / "model")
    images = np.array(load(study.spec.dataset).test_images[:50])
    np.save(tmp_path / "images.npy", images)
    code = (
        "import numpy, torch, tuner; torch.set_num_threads(1); model = tuner.load_model('model');"
        "numpy.save('found.npy', model.predict(numpy.load('images.npy')).numpy())"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(tuner.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, timeout=PATIENCE, check=True)
    expected = tuner.load_model(tmp_path / "model").predict(images)
    assert np.array_equal(np.load(tmp_path / "found.npy"), expected.numpy())


def test_final_trains_several_seeds(make_study: MakeStudy, tmp_path: Path) -> None:
    train_final(make_study(), tmp_path / "model", seeds=2)
    first, second = (tuner.load_model(tmp_path / "model" / name) for name in "12")
    assert first.about.seed != second.about.seed
    images = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    assert not torch.equal(first.predict(images), second.predict(images))
    with pytest.raises(DataError, match=r"no model here .*load one of its models: .*model/1$"):
        tuner.load_model(tmp_path / "model")


def test_final_overwrites_nothing(make_study: MakeStudy, tmp_path: Path) -> None:
    study = make_study()
    (tmp_path / "model").mkdir()
    with pytest.raises(StudyError, match=r"model: exists already.*--out DIR$"):
        train_final(study, tmp_path / "model")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "s"]


def test_interrupted_final_leaves_nothing(make_study: MakeStudy, tmp_path: Path) -> None:
    def interrupt(line: str) -> None:
        if line.startswith("epoch 1"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_final(make_study(), tmp_path / "model", say=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_final_tells_of_folder_that_vanished(make_study: MakeStudy, tmp_path: Path) -> None:
    def remove(line: str) -> None:
        if line.startswith("epoch 2"):
            (unfinished,) = tmp_path.glob(".model-*")
            shutil.rmtree(unfinished)

    with pytest.raises(DataError, match=r"model\.safetensors: cannot be written: "):
        train_final(make_study(), tmp_path / "model", say=remove)
    assert not (tmp_path / "model").exists()


def test_final_refuses_unknown_trial(make_study: MakeStudy, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"no trial 9; did you mean 2\? allowed: 0 to 2"):
        train_final(make_study(), tmp_path / "model", trial=9)


def test_final_refuses_changed_images(make_study: MakeStudy, tmp_path: Path) -> None:
    study = make_study()
    study.folder.write_identity({**(study.folder.identity() or {}), "images": "0123456789abcdef"})
    with pytest.raises(StudyError, match=r"^images: 0123456789ab -> .*: edited since the study ran"):
        train_final(study, tmp_path / "model")


def test_final_tells_of_configuration_that_diverges(make_study: MakeStudy, tmp_path: Path) -> None:
    study = make_study(space={"learning_rate": 1e20}, training={**TRAINING, "optimizer": "sgd"})
    with pytest.raises(StudyError, match=r"trial 1: .*loss is .*--trial N trains another$"):
        train_final(study, tmp_path / "model")


def test_edited_network_is_refused(make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "edited_net.py").write_text(NETWORK)
    study = make_study(training={"architecture": "edited_net:Net", "epochs": 1})
    train_final(study, tmp_path / "model")
    assert tuner.load_model(tmp_path / "model").about.code is not None
    (tmp_path / "edited_net.py").write_text(f"{NETWORK}\nx = 1\n")
    with pytest.raises(SpecError, match="code of edited_net:Net was edited since its training"):
        tuner.load_model(tmp_path / "model")
    with pytest.raises(StudyError, match=r"^code of edited_net:Net: .* edited since the study ran"):
        train_final(study, tmp_path / "other")


def test_missing_network_is_told(make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "missing_net.py").write_text(NETWORK)
    with monkeypatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        train_final(make_study(training={"architecture": "missing_net:Net", "epochs": 1}), tmp_path / "model")
    del sys.modules["missing_net"]
    with pytest.raises(SpecError, match="importing 'missing_net' failed with ModuleNotFoundError"):
        tuner.load_model(tmp_path / "model")


def test_shared_layers_are_kept(make_study: MakeStudy, tmp_path: Path) -> None:
    study = make_study(training={"architecture": "rubio_large_shared", "filters": 2, "epochs": 1})
    train_final(study, tmp_path / "model")
    model = tuner.load_model(tmp_path / "model")
    dataset = load(study.spec.dataset)
    predicted = model.predict(np.array(dataset.test_images)).argmax(1).numpy()
    assert model.about.origin.test["test_accuracy"] == pytest.approx((predicted == dataset.test_labels).mean())


@pytest.mark.slow
def test_final_starts_from_pretrained_weights(make_study: MakeStudy, tmp_path: Path) -> None:
    train_final(make_study(), tmp_path / "first")
    weights = {"pretrained": str(tmp_path / "first" / "model.safetensors"), "freeze": 1}
    study = make_study(training={**TRAINING, **weights})
    train_final(study, tmp_path / "second")
    (tmp_path / "first" / "model.safetensors").unlink()
    card = (tmp_path / "second" / "README.md").read_text()
    assert "- Started from: `" in card
    assert tuner.load_model(tmp_path / "second").about.origin.test["test_accuracy"] is not None


def test_damaged_model_is_refused(make_study: MakeStudy, tmp_path: Path) -> None:
    train_final(make_study(), tmp_path / "model")
    for name, damage, said in (
        ("model.safetensors", lambda old: old[:-1] + bytes([old[-1] ^ 1]), "damaged or exchanged"),
        ("model.safetensors", lambda old: old[:100], "damaged or exchanged"),
        ("model.json", lambda old: old[:100], "damaged"),
        ("model.json", lambda old: old.replace(b'"channels"', b'"kanals"'), "damaged"),
    ):
        copy = tmp_path / "copy"
        shutil.copytree(tmp_path / "model", copy)
        (copy / name).write_bytes(damage((copy / name).read_bytes()))
        with pytest.raises(DataError, match=said) as refusal:
            tuner.load_model(copy)
        assert len(str(refusal.value).splitlines()) == 1
        shutil.rmtree(copy)
    with pytest.raises(DataError, match="no model here"):
        tuner.load_model(tmp_path / "none")


@pytest.mark.parametrize(
    "images", [np.zeros((1, 8, 8), np.uint8), np.zeros((1, 1, 8, 8), np.float32), np.zeros((1, 3, 8, 8), np.uint8)]
)
def test_predict_refuses_other_images(make_study: MakeStudy, tmp_path: Path, images: Any) -> None:
    train_final(make_study(training={**TRAINING, "epochs": 1}), tmp_path / "model")
    with pytest.raises(DataError, match=r"images: found .*; allowed: \(N, 1, 8, 8\) uint8"):
        tuner.load_model(tmp_path / "model").predict(images)


def test_model_card_gives_figures_and_limits(make_study: MakeStudy, tmp_path: Path) -> None:
    train_final(make_study(repeats={1: (0.85, 0.95)}), tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    accuracy = json.loads((tmp_path / "model" / "model.json").read_text())["origin"]["test"]["test_accuracy"]
    assert "| val_accuracy, trial 1 of the search | 0.9000 | validation images |" in card
    assert "| val_accuracy, mean of 2 other seeds | 0.9000 ± 0.6353 | validation images |" in card
    assert "| test_accuracy, mean of 2 other seeds | 0.8000 ± 0.6353 | test images |" in card
    assert f"| test_accuracy, this model | {accuracy:.4f} | 360 test images |" in card
    assert "The validation images chose among 3 complete and 0 pruned trials." in card
    assert "It has no validation figure" in card
    assert "The study was not finished" not in card
    assert "`predict` never augments" not in card


def test_model_card_tells_of_published_protocol(make_study: MakeStudy, tmp_path: Path) -> None:
    published = {**DATASET, "validation": "test"}
    training = {**TRAINING, "evaluate": {"batch_norm": "train"}}
    train_final(make_study(dataset=published, protocol="as_published", training=training), tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    assert "The test images chose among 3 complete and 0 pruned trials." in card
    assert "The test images chose the configuration. Their figures are too high" in card
    assert "100 images of `digits` (training images only)" in card
    assert "`predict` never augments" in card
    assert "It has no validation figure" not in card


def test_model_card_tells_of_unfinished_study(make_study: MakeStudy, tmp_path: Path) -> None:
    study = make_study()
    row = {"study": "s", "number": 3, "attempt": 1, "state": "PRUNED", "updated_at": now(), "purpose": "search"}
    tables = study.folder.tables(study.spec)
    tables.append("trials", row | {"param_learning_rate": 0.02})
    tables.append("trials", row | {"number": 4, "state": "PAUSED", "param_learning_rate": 0.03})
    tables.flush()
    train_final(load_study(tmp_path / "s"), tmp_path / "model", trial=3)
    card = (tmp_path / "model" / "README.md").read_text()
    assert "| val_accuracy, trial 3 of the search | not defined | validation images |" in card
    assert "Trial 3 is PRUNED: no full training of its configuration was measured." in card
    assert "The study was not finished when this model was trained." in card
    assert tuner.load_model(tmp_path / "model").about.recipe["learning_rate"] == 0.02
