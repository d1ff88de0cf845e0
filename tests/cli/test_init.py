"""A study file from a folder of images, and what it leads to."""

from dataclasses import replace
from pathlib import Path

import pytest

import tuner
from tests.support.environment import clean_environment
from tests.support.forked import call_tuner
from tests.support.image_files import write_folder
from tests.support.uneven_images import write_shapes
from tuner.cli.init import Summary, cautions, choose, explain, render, summarize
from tuner.config.study import parse_spec
from tuner.config.yaml import parse_yaml
from tuner.errors import DataError

EVEN = Summary("./photos", {"cat": 400, "dog": 400}, 0, ((64, 48),) * 9, gpu=False)
SHORT = (
    "search.trials=3",
    "space.epochs=2",
    "space.batch_size=32",
    "training.filters=4",
    "stopping=none",
    "repeats={top: 2, seeds: 1}",
    "resources.concurrent=1",
)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, {"objective": "val_accuracy", "class_weights": "none", "image_size": 48, "filters": 16}),
        ({"classes": {"cat": 400, "dog": 200}}, {"objective": "val_auroc", "class_weights": "balanced"}),
        ({"classes": {"a": 299, "b": 200, "c": 250}}, {"objective": "val_accuracy", "class_weights": "none"}),
        ({"classes": {"a": 300, "b": 200, "c": 250}}, {"objective": "val_balanced_accuracy"}),
        ({"classes": {"cat": 9000, "dog": 9000}}, {"image_size": 32, "validation": 0.1, "epochs": [10, 20]}),
        ({"classes": {"cat": 30000, "dog": 30000}}, {"epochs": [5, 10], "batch_sizes": [64, 128]}),
        ({"gpu": True}, {"filters": 64, "image_size": 48}),
        ({"gpu": True, "sides": ((600, 400),) * 3}, {"image_size": 128, "crop": 16}),
        ({"sides": ((20, 20),)}, {"image_size": 20, "crop": 2}),
        ({"sides": ((5, 5),)}, {"image_size": 8, "crop": 1}),
    ],
)
def test_choice_follows_images_and_machine(change: dict[str, object], expected: dict[str, object]) -> None:
    summary = replace(EVEN, **change)  # type: ignore[arg-type]
    choice = choose(summary)
    assert {name: getattr(choice, name) for name in expected} == expected
    spec = parse_spec(parse_yaml(render(summary, choice), "study.yaml"))
    assert spec.objective[0].metric == choice.objective
    assert spec.dataset.name == "./photos"


def test_a_fifth_is_held_out_without_test_images() -> None:
    assert (EVEN.training, replace(EVEN, test=10).training) == (640, 800)


def test_own_validation_images_need_no_share(tmp_path: Path) -> None:
    for part in ("train", "valid"):
        write_folder(tmp_path, part, ["a", "b"], 3, 10, 12)
    (tmp_path / "groups.csv").write_text("image,group\n")
    summary = summarize(tmp_path)
    assert (summary.own_validation, summary.classes) == (6, {"a": 3, "b": 3})
    choice = choose(summary)
    assert parse_spec(parse_yaml(render(summary, choice), "study.yaml")).dataset.validation is None
    assert "validation" not in explain(summary, choice)
    unused, rare = cautions(summary)
    assert unused.startswith("Careful: groups.csv is not used")
    assert rare.startswith("Careful: classes of fewer than 10 images: a (3), b (3); ")


def test_reasons_name_what_was_found() -> None:
    summary = replace(EVEN, classes={"cat": 400, "dog": 100})
    reasons = explain(summary, choose(summary))
    assert reasons["objective"] == "classes are uneven, 4.0 to 1 (1.5 and more is uneven)"
    assert reasons["image_size"] == "the images' median is 48, and the CPU gets 64 at most"
    assert explain(EVEN, choose(EVEN))["objective"] == "classes are even, 1.0 to 1 (1.5 and more is uneven)"


@pytest.mark.parametrize("name", ["a b", "7", "…", "ünï'\"#: {", "digits"])
def test_file_holds_any_name_of_a_folder(name: str) -> None:
    summary = replace(EVEN, path=f"./{name}", classes={"#: x\n": 300, "'": 2})
    spec = parse_spec(parse_yaml(render(summary, choose(summary)), "study.yaml"))
    assert spec.dataset.name == f"./{name}"
    grouped = parse_spec(parse_yaml(render(replace(summary, grouped=True), choose(summary)), "study.yaml"))
    assert grouped.dataset.groups == f"./{name}/groups.csv"


def test_summary_counts_images_and_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_folder(Path("own"), "train", ["a", "b"], 3, 10, 12)
    write_folder(Path("own"), "test", ["a", "b"], 2, 10, 12)
    summary = summarize(Path("own"))
    assert (summary.path, summary.classes, summary.test) == ("./own", {"a": 3, "b": 3}, 4)
    assert summary.sides == ((12, 10),) * 6


def test_summary_refuses_other_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder here"):
        summarize(tmp_path / "none")
    (tmp_path / "cat").mkdir()
    with pytest.raises(DataError, match="found: cat"):
        summarize(tmp_path)
    write_folder(tmp_path, "train", ["a", "b"], 1, 8, 8)
    (tmp_path / "train" / "a" / "0.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"0\.png: cannot be read"):
        summarize(tmp_path)


@pytest.mark.slow
def test_user_goes_from_folder_to_model(ray_session: str, tmp_path: Path) -> None:
    write_shapes(tmp_path / "shapes")
    environment = clean_environment() | {"TUNER_CACHE": str(tmp_path / "cache")}

    def call(*words: str) -> str:
        done = call_tuner(*words, folder=tmp_path, environment=environment, address=ray_session)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "objective val_balanced_accuracy: classes are uneven, 3.7 to 1" in call("init", "shapes")
    written = (tmp_path / "study.yaml").read_text()
    assert 'validation: {groups: "./shapes/groups.csv", share: 0.2}' in written
    call("run", "study.yaml", *(word for setting in SHORT for word in ("--set", setting)))
    assert "epoch 2/2: train_loss" in call("final", "shapes")
    model = tuner.load_model(tmp_path / "results" / "shapes" / "model")
    assert model.classes == ("disc", "square", "stripes")
    files = [tmp_path / "shapes" / "train" / name / "0.png" for name in model.classes]
    assert model.predict(model.read(files)).sum(dim=1).tolist() == pytest.approx([1, 1, 1])
    assert "test_balanced_accuracy" in model.about.origin.test
    for words, way in ((("init", "shapes"), "--out FILE"), (("final", "shapes"), "--out DIR")):
        done = call_tuner(*words, folder=tmp_path, environment=environment)
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done.stderr
        assert done.stderr.endswith(f"{way}\n")
    assert (tmp_path / "study.yaml").read_text() == written
