"""A study's networks, tried on its images before anything starts."""

import os
import threading
from concurrent.futures import Future, wait
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.support.image_files import write_folder
from tests.support.published import TINY, publish, use_caches
from tests.support.waiting import PATIENCE, wait_until
from tuner import models
from tuner.config.study import StudyConfig, parse_spec
from tuner.data import progress, sources
from tuner.errors import DataError, SpecError
from tuner.study import dataset
from tuner.study.dataset import load_fitting
from tuner.training import watchdog


def study(name: str, **space: Any) -> StudyConfig:
    return parse_spec({"study": "a", "training": {"architecture": f"tests.support.networks:{name}"}, "space": space})


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Wavering", "RuntimeError: mat1 and mat2 cannot be multiplied"),
        ("Detached", "RuntimeError: element 0 of tensors does not require grad and does not have a grad_fn"),
    ],
)
def test_network_that_fails_only_in_training_is_refused(name: str, reason: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_fitting(study(name), None)
    assert str(caught.value) == f"architecture: tests.support.networks:{name} fails in training: {reason}"


def test_trying_a_network_leaves_random_numbers_alone() -> None:
    before = torch.get_rng_state()
    load_fitting(study("Tiny", units={"int": [4, 10**12]}), None)  # of which the smallest is built
    assert torch.equal(torch.get_rng_state(), before)


def test_positional_hyperparameter_is_told_its_star() -> None:
    with pytest.raises(SpecError, match=r"space.units: tests.support.networks:Loose takes it without a keyword; write"):
        study("Loose", units={"int": [4, 8]})


def test_default_of_zero_may_be_a_float() -> None:
    assert study("Loose", rate={"float": [0, 0.5]}).training_config({"rate": 0.25}).hyperparameters["rate"] == 0.25
    line = r"scale: found 0.25; allowed: a whole number, as its default 0; a default of 0.0 allows fractions$"
    with pytest.raises(SpecError, match=line):
        study("Loose", scale={"float": [0.25, 0.5]})


def study_of(images: Path) -> StudyConfig:
    training = {"architecture": "vazquez_base"}
    return parse_spec({"study": "a", "dataset": {"name": str(images)}, "training": training, "space": {}})


class Clock:
    """A clock that tests set."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock by which reading hangs."""
    clock = Clock()
    monkeypatch.setattr(dataset, "time", clock)
    return clock


def test_hanging_read_is_refused_with_its_file(clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wait_for_the_pipe(_: list[Future[Any]], seconds: float) -> Any:
        wait_until(lambda: progress.place == str(pipe))
        clock.now += seconds
        return SimpleNamespace(done=set())

    monkeypatch.setattr(dataset, "wait", wait_for_the_pipe)
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    write_folder(tmp_path / "images", "train", ["a", "b"], 2, 12, 12)
    pipe = tmp_path / "images" / "train" / "b" / "0.png"
    pipe.unlink()
    os.mkfifo(pipe)  # reading it never ends
    with pytest.raises(DataError) as caught:
        load_fitting(study_of(tmp_path / "images"), None)
    remedy = "check the disk or the network drive; the same command tries again"
    assert str(caught.value) == f"{pipe}: reading has not moved on for 900 s; {remedy}"
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "load-images")
    writer = os.open(pipe, os.O_RDWR)
    pipe.unlink()
    os.close(writer)
    thread.join()


def test_slow_read_is_waited_for(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    reports = 0

    def wait_long(loading: list[Future[Any]], seconds: float) -> Any:
        nonlocal reports
        reports += 1
        clock.now += 0.9 * seconds
        progress.report()
        return SimpleNamespace(done=set()) if reports < 10 else wait(loading, PATIENCE)

    monkeypatch.setattr(dataset, "wait", wait_long)
    assert load_fitting(study_of(Path("digits")), None).name == "digits"
    assert clock.now > 8 * watchdog.HANG_SECONDS


def test_hash_of_a_large_file_reports_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "CHUNK_BYTES", 10)
    (tmp_path / "large").write_bytes(bytes(100))
    heard: list[str] = []
    source = sources.Source("large", "", {"large": tmp_path / "large"}, lambda _: pytest.fail("not decoded"))
    with progress.heard(lambda: heard.append(progress.place)):
        source.fingerprint(None)
    assert heard == [str(tmp_path / "large")] * 11


@pytest.mark.parametrize(
    ("place", "named"),
    [("objective", {"objective": {"maximize": "val_top5_accuracy"}}), ("metrics", {"metrics": ["val_top5_accuracy"]})],
)
def test_top5_accuracy_needs_six_classes(
    place: str, named: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    training = {"architecture": "vazquez_base"}
    for count in (5, 6):
        folder = tmp_path / f"{count}-classes"
        write_folder(folder, "train", "abcdef"[:count], 10, 12, 12)
        spec = parse_spec(
            {
                "study": "a",
                "dataset": {"name": str(folder), "validation": 0.2},
                "training": training,
                "space": {},
                **named,
            }
        )
        if count == 6:
            assert len(load_fitting(spec, None).classes) == 6
            continue
        with pytest.raises(SpecError) as caught:
            load_fitting(spec, None)
        assert str(caught.value) == (
            f"{place}: found 'val_top5_accuracy', which is always 1 with the 5 classes of 5-classes;"
            " allowed: 6 classes or more; use val_accuracy"
        )


def test_validation_without_a_class_has_no_auroc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    write_folder(tmp_path / "images", "train", ["a", "b"], 10, 12, 12)
    spec = parse_spec(
        {
            "study": "a",
            "dataset": {"name": str(tmp_path / "images"), "validation": {"last": 0.2}},
            "training": {"architecture": "vazquez_base"},
            "objective": {"maximize": "val_auroc"},
            "space": {},
        }
    )
    with pytest.raises(DataError, match=r"^dataset\.validation: .* hold none of class 'a'; allowed: a number or frac"):
        load_fitting(spec, None)


def pretrained(path: object, **space: Any) -> StudyConfig:
    training = {"architecture": "vazquez_base", "pretrained": str(path)}
    return parse_spec({"study": "a", "training": training, "space": space})


def save_weights(file: Path, name: str = "vazquez_base", classes: int = 10) -> Path:
    torch.save(models.build(name, in_channels=1, classes=classes, image_size=8).state_dict(), file)
    return file


def test_pretrained_weights_are_described_before_the_start(tmp_path: Path) -> None:
    lines: list[str] = []
    fit, other = save_weights(tmp_path / "fit.pt"), save_weights(tmp_path / "other.pt", classes=3)
    before = torch.get_rng_state()
    load_fitting(pretrained(fit), None, lines.append)
    load_fitting(pretrained("other.pt"), tmp_path, lines.append)
    assert lines == [
        f"vazquez_base starts from {fit}",
        "vazquez_base starts from other.pt; its head 7 is new, for 10 classes",
    ]
    assert other.exists()
    assert torch.equal(torch.get_rng_state(), before)


def test_pretrained_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    file = save_weights(tmp_path / "other.pt", "rubio_small")
    with pytest.raises(SpecError, match=rf"^training.pretrained: {file} for vazquez_base does not fit: [^\n]+$"):
        load_fitting(pretrained(file), None)


def test_pretrained_weights_of_the_space_are_tried_too(tmp_path: Path) -> None:
    space = {"architecture": "vazquez_base", "pretrained": {"choice": [False, "nowhere.pt"]}}
    with pytest.raises(DataError, match=r"^training.pretrained: no file 'nowhere.pt' on "):
        load_fitting(parse_spec({"study": "a", "space": space}), tmp_path)


def test_means_need_one_number_for_each_channel() -> None:
    def study_with(mean: list[float]) -> StudyConfig:
        dataset = {"name": "digits", "pixels": {"mean": mean, "deviation": [0.5]}}
        return parse_spec({"study": "a", "dataset": dataset, "training": {"architecture": "vazquez_base"}, "space": {}})

    load_fitting(study_with([0.4]), None)
    line = r"^dataset\.pixels\.mean: found 3 numbers; allowed: 1, one for each channel of digits$"
    with pytest.raises(SpecError, match=line):
        load_fitting(study_with([0.4, 0.4, 0.4]), None)


@pytest.mark.parametrize(
    ("augment", "found"), [({"flip": True}, "flip: true"), ({"rotate": 90}, "rotate: 90"), ({"rotate": 10}, None)]
)
def test_mirrored_digits_are_warned_of(
    augment: dict[str, Any], found: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(progress, "warn_once", said.append)
    training = {"architecture": "vazquez_base"}
    spec = {"study": "a", "dataset": {"name": "digits", "augment": augment}, "training": training, "space": {}}
    load_fitting(parse_spec(spec), None)
    assert [line for line in said if line.startswith("dataset.augment: ")] == said
    assert [f"found {found}, but digits" in line for line in said] == ([True] if found else [])


@pytest.fixture
def published_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    use_caches(tmp_path, monkeypatch)
    return publish(TINY)


def published_study(**dataset: Any) -> StudyConfig:
    images = {"name": "digits", "image_size": 32, **dataset}
    return parse_spec({"study": "a", "dataset": images, "training": {"architecture": TINY, "pretrained": True}, "space": {}})  # fmt: skip # noqa: E501


@pytest.mark.slow
def test_published_weights_are_described_before_the_start(published_file: Path) -> None:
    lines: list[str] = []
    load_fitting(published_study(), None, lines.append)
    size = f"{published_file.stat().st_size / 1e6:.1f} MB"
    assert lines == [
        f"{TINY} starts from test_resnet.r160_in1k ({published_file}, {size}); its head fc is new, for 10 classes;"
        " the weights of its three colors are added, for gray images"
    ]


@pytest.mark.usefixtures("published_file")
@pytest.mark.parametrize(
    ("pixels", "found"),
    [
        ("unit", "unit"),
        ({"mean": [0.13], "deviation": [0.3]}, "mean [0.13], deviation [0.3]"),
        ({"mean": [0.503], "deviation": [0.495]}, None),
        ("symmetric", None),
        ("auto", None),
    ],
)
@pytest.mark.slow
def test_pixels_of_another_network_are_warned_of(
    pixels: Any, found: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(progress, "warn_once", said.append)
    load_fitting(published_study(pixels=pixels), None)
    line = (
        f"dataset.pixels: found {found}, but the weights of {TINY} were trained with mean [0.5], deviation [0.5];"
        " better: pixels: auto, or no `pixels`"
    )
    assert said == ([line] if found else [])
