"""Exported models: they predict as the study recorded, or do not appear."""

import json
import stat
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

import tuner
from tests.support.kept_study import DATASET, NUMBER, TRAINING, train_study, write_test_images
from tests.support.studies import trial_row, write_study
from tuner.data.device import DeviceDataset
from tuner.errors import DataError, StudyError
from tuner.results.folder import StudyResults
from tuner.study.export import export_model
from tuner.study.final import train_final
from tuner.study.kept_model import load_kept
from tuner.training import formats
from tuner.training.formats import ENDINGS, check_format
from tuner.training.image_model import About
from tuner.training.prediction import Prediction, predict_files

pytestmark = pytest.mark.usefixtures("own_cache")

NETWORKS = """
import torch
from torch import nn

class Noisy(nn.Sequential):
    def __init__(self, in_channels, classes, image_size):
        super().__init__(nn.Flatten(), nn.Linear(in_channels * image_size**2, classes))
    def forward(self, images):
        return super().forward(images) + (0 if self.training else torch.rand(images.shape[0], 1).round())* \\
            torch.arange(10)

class Branching(Noisy):
    def forward(self, images):
        logits = nn.Sequential.forward(self, images)
        return logits if float(logits.detach().sum()) > -1e9 else -logits
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyResults:
    """A study whose trial evaluates an average of its weights."""
    return train_study(tmp_path_factory.mktemp("results") / "kept", training={**TRAINING, "ema": 0.9})


@pytest.fixture(scope="module")
def images(study: StudyResults, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_test_images(study, tmp_path_factory.mktemp("images") / "test")


Exported = Callable[[str], tuple[Path, tuple[About, int, float]]]


@pytest.fixture(scope="module")
def exported(study: StudyResults, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Return a function that exports the study once per format, because that takes long."""

    @cache
    def export(kind: str) -> tuple[Path, tuple[About, int, float]]:
        file = tmp_path_factory.mktemp(kind) / f"model{ENDINGS[kind]}"
        return file, export_model(study, file, kind)

    return export


@pytest.mark.parametrize(
    "kind",
    ["safetensors", *(pytest.param(name, marks=pytest.mark.slow) for name in ("pt2", "torchscript", "onnx"))],
)
def test_export_predicts_as_the_study_recorded(
    kind: str, study: StudyResults, images: list[Path], exported: Exported
) -> None:
    whole, (about, compared, difference) = exported(kind)
    assert compared == 256
    assert difference <= 1e-5
    (file,) = whole.parent.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) & 0o044 == 0o044
    model = tuner.load_model(file)
    assert model.about == about.model_copy(update={"weights": model.about.weights})
    assert model.classes == tuple("0123456789")
    recorded = study.predictions.sort_values("index")
    found = [each for each in predict_files(model, images, 1) if isinstance(each, Prediction)]
    assert [int(each.classes[0][0]) for each in found] == recorded["predicted"].tolist()
    assert [each.classes[0][1] for each in found] == pytest.approx(recorded["probability"].tolist(), abs=1e-5)


def test_folds_are_exported_as_their_mean(tmp_path: Path) -> None:
    study = train_study(tmp_path / "folds", dataset={**DATASET, "validation": {"folds": 2}}, predictions=[])
    export_model(study, tmp_path / "model.safetensors", "safetensors")
    model = tuner.load_model(tmp_path / "model.safetensors")
    assert model.about.folds == 2
    folds = DeviceDataset.open_folds(tuner.data.load(study.spec.dataset), study.spec.dataset)
    states = torch.load(tmp_path / "folds" / study.folder.weights(NUMBER), weights_only=True)["folds"]
    images, alone = folds[0].test.images[:20], []
    for fold, state in zip(folds, states, strict=True):
        network = tuner.models.build(
            "vazquez_bn", in_channels=1, classes=10, image_size=8, **model.about.hyperparameters
        )
        network.load_state_dict(state)
        with torch.inference_mode():
            alone.append(network.eval()(fold.normalize(images)).softmax(1))
    assert not torch.allclose(alone[0], alone[1], atol=1e-3)
    assert torch.allclose(model.predict(images), torch.stack(alone).mean(0), atol=1e-5)


@pytest.mark.slow
def test_final_model_is_preferred(study: StudyResults, tmp_path: Path) -> None:
    again = train_study(tmp_path / "study")
    train_final(again, tmp_path / "study" / "model")
    about, *_ = export_model(again, tmp_path / "final.safetensors", "safetensors")
    assert about.origin.images["training"] == 240
    images = np.array(tuner.data.load(study.spec.dataset).test_images[:9])
    expected = tuner.load_model(tmp_path / "study" / "model").predict(images)
    assert torch.equal(tuner.load_model(tmp_path / "final.safetensors").predict(images), expected)
    kept, *_ = export_model(again, tmp_path / "kept.safetensors", "safetensors", trial=NUMBER)
    assert kept.origin.images["training"] == 200


@pytest.mark.parametrize("kind", ["safetensors", pytest.param("pt2", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_bfloat16_network_is_exported(kind: str, tmp_path: Path) -> None:
    study = train_study(tmp_path / "half", training={**TRAINING, "precision": "bfloat16"})
    assert study.trial(NUMBER)["device"] == "cpu bf16"
    _, _, difference = export_model(study, tmp_path / f"model{ENDINGS[kind]}", kind)
    assert difference <= 1e-5
    images = write_test_images(study, tmp_path / "images")
    found = list(predict_files(tuner.load_model(tmp_path / f"model{ENDINGS[kind]}"), images, 1))
    recorded = study.predictions.sort_values("index")["probability"].tolist()
    same = 1e-6 if kind == "safetensors" else 0.05  # because pt2 computes in float32
    assert [each.classes[0][1] for each in found if isinstance(each, Prediction)] == pytest.approx(recorded, abs=same)


def test_metadata_serve_other_programs(study: StudyResults, tmp_path: Path) -> None:
    export_model(study, tmp_path / "model.safetensors", "safetensors")
    with safe_open(tmp_path / "model.safetensors", "pt") as opened:
        found = opened.metadata()
    assert json.loads(found["classes"]) == list("0123456789")
    assert found["input"] == "uint8 (N, 1, 8, 8), gray, pixels 0 to 255"
    assert json.loads(found["tuner"])["origin"]["trial"] == NUMBER


def test_folder_that_takes_no_file_is_refused(study: StudyResults) -> None:
    with pytest.raises(StudyError, match=r"^/proc/a\.safetensors: cannot be written: .*; name another file"):
        export_model(study, Path("/proc/a.safetensors"), "safetensors")


def test_export_overwrites_nothing(study: StudyResults, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_text("mine")
    with pytest.raises(StudyError, match=r"exists already, and nothing is overwritten; .*--output FILE$"):
        export_model(study, tmp_path / "model.safetensors", "safetensors")
    with pytest.raises(StudyError, match=r"found 'model\.onnx'; allowed for safetensors: a name \*\.safetensors"):
        export_model(study, tmp_path / "model.onnx", "safetensors")
    with pytest.raises(StudyError, match="no folder"):
        export_model(study, tmp_path / "no" / "model.safetensors", "safetensors")
    assert (tmp_path / "model.safetensors").read_text() == "mine"


def test_trial_without_weights_is_refused(tmp_path: Path) -> None:
    study = train_study(tmp_path / "study", keep_weights=0)
    with pytest.raises(StudyError, match=r"no weights of trial 4 were kept; `tuner final study` trains a model$"):
        load_kept(study, NUMBER, None)


def test_weights_without_a_complete_trial_have_no_remedy(tmp_path: Path) -> None:
    study = write_study(tmp_path / "s", {}, trials=[trial_row(0, state="FAILED")])
    with pytest.raises(StudyError, match=r"no weights of trial 0 were kept; allowed: a trial that is complete"):
        load_kept(study, 0, None)


def test_other_weights_than_recorded_are_refused(tmp_path: Path) -> None:
    study = train_study(tmp_path / "study")
    file = tmp_path / "study" / study.folder.weights(NUMBER)
    state = torch.load(file, weights_only=True)
    torch.save({name: torch.zeros_like(value) for name, value in state.items()}, file)
    with pytest.raises(StudyError, match=r"have val_accuracy 0\.\d+, but 0\.\d+ is recorded; `tuner final study`"):
        load_kept(study, NUMBER, None)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(StudyError, match=r"weights\.pt: damaged: .*; `tuner final study` trains a model$"):
        load_kept(study, NUMBER, None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "kind", "said"),
    [
        ("Noisy", "safetensors", r"probabilities differ from the original's by .*; nothing was written$"),
        (
            "Branching",
            "torchscript",
            r"Branching cannot be exported as torchscript: .*: --format safetensors$",
        ),
    ],
)
def test_network_that_cannot_be_exported_is_refused(
    network: str,
    kind: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "odd_networks.py").write_text(NETWORKS)
    evaluate: dict[str, Any] = {"augment": True}  # so that noise is no reason to refuse the weights
    training = {"architecture": f"odd_networks:{network}", "epochs": 1, "evaluate": evaluate}
    study = train_study(tmp_path / "study", training=training, protocol="as_published")
    with pytest.raises(DataError, match=said) as refusal:
        export_model(study, tmp_path / f"model{ENDINGS[kind]}", kind)
    assert len(str(refusal.value).splitlines()) == 1
    assert not capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["odd_networks.py"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ENDINGS)
def test_damaged_export_is_refused(kind: str, study: StudyResults, exported: Exported, tmp_path: Path) -> None:
    file = tmp_path / f"model{ENDINGS[kind]}"
    whole = exported(kind)[0].read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"no model"):
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"model\.\w+: .*; `tuner export` writes it again$") as refusal:
            tuner.load_model(file)
        assert len(str(refusal.value).splitlines()) == 1
    flipped = bytearray(whole)
    weight = next(iter(load_kept(study, NUMBER, None).network.parameters())).detach().numpy().tobytes()
    flipped[whole.index(weight[:16])] ^= 1
    file.write_bytes(flipped)
    with pytest.raises(DataError, match="damaged"):
        tuner.load_model(file)


def test_formats_are_refused_with_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^--format: found 'onx'; did you mean 'onnx'\? allowed: onnx, pt2"):
        check_format("onx")
    monkeypatch.setitem(formats.NEEDED, "onnx", ("no_such_package",))
    (tmp_path / "model.onnx").touch()
    for refused in (lambda: check_format("onnx"), lambda: tuner.load_model(tmp_path / "model.onnx")):
        with pytest.raises(DataError, match=r"needs no_such_package, .*; pip install 'tuner\[onnx\]'$"):
            refused()
