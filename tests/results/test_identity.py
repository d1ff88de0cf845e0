"""The identity of a study: its values, their differences, and the refusal that names them."""

import re
from pathlib import Path
from typing import Any

import pytest

from tuner.config.study import StudyConfig, parse_spec
from tuner.errors import StudyError
from tuner.results.folder import StudyFolder
from tuner.results.identity import check_identity, identify, list_changes

NET = """
class Net:
    def __init__(self, in_channels, classes, image_size, *, width=8, gain=1.0): ...
"""


def study(**changes: Any) -> StudyConfig:
    training = {"architecture": "lenet5", **changes.pop("training", {})}
    dataset, space = {"name": "mnist"}, {"learning_rate": {"float": [1e-4, 1e-1]}}
    return parse_spec({"study": "s", "dataset": dataset, "training": training, "space": space, **changes})


def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> StudyConfig:
    """A study of a network that a module of the user holds."""
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return study(training={"architecture": f"{name}:Net"})


@pytest.fixture
def begun(tmp_path: Path) -> StudyFolder:
    """A study that was begun with one thread."""
    folder = StudyFolder(tmp_path / "s")
    folder.write_spec(study())
    folder.write_identity(identify(study(), "a" * 32))
    return folder


@pytest.mark.parametrize(
    ("spec", "fingerprint", "change"),
    [
        (study(), "b" * 32, "images: aaaaaaaaaaaa -> bbbbbbbbbbbb"),
        (study(training={"precision": "bfloat16"}), "a" * 32, "training.precision: auto -> bfloat16"),
        (study(resources={"cpu": 2}), "a" * 32, "resources.cpu: 1 -> 2"),
        (study(training={"dropout": 0.5}), "a" * 32, "dropout of lenet5: 0.0 -> 0.5"),
    ],
)
def test_identity_names_each_change_and_ways_on(
    begun: StudyFolder, spec: StudyConfig, fingerprint: str, change: str
) -> None:
    new = identify(spec, fingerprint)
    with pytest.raises(StudyError) as refusal:
        check_identity(begun, new)
    assert str(refusal.value).startswith(f"{begun}: its rows were made differently ({change}); ")
    assert all(way in str(refusal.value) for way in ("--name", "--fresh", "--accept-changes"))
    assert check_identity(begun, new, accept=True) == [change]


def test_identity_names_changed_weights() -> None:
    old, new = (identify(study(), "a", {"weights net.pt": digit * 16}) for digit in "12")
    assert list_changes(old, new) == ["weights net.pt: 111111111111 -> 222222222222"]
    assert list_changes(identify(study(), "a"), old) == ["weights net.pt: absent -> 111111111111"]


def test_identity_names_another_version_of_a_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = study(training={"architecture": "torchvision:resnet18"})
    now, folder = identify(spec, "a"), StudyFolder(tmp_path / "s")
    folder.write_spec(spec)
    monkeypatch.setattr("tuner.results.identity.installed_version", lambda _: "0.1")
    folder.write_identity(identify(spec, "a"))
    monkeypatch.undo()
    with pytest.raises(
        StudyError, match=rf"\(version of torchvision: 0.1 -> {re.escape(str(now['version of torchvision']))}\)"
    ):
        check_identity(folder, now)
    folder.write_identity({key: value for key, value in now.items() if not key.startswith("version")})
    assert check_identity(folder, now) == []  # because earlier versions did not keep it


def test_identity_allows_more_trials_on_other_slots(begun: StudyFolder) -> None:
    more = study(search={"trials": 100}, resources={"concurrent": 2}, budget={"hours": 1})
    assert check_identity(begun, identify(more, "a" * 32)) == []


def test_identity_joins_changes_clause_by_clause(begun: StudyFolder) -> None:
    with pytest.raises(StudyError, match=r"\(images: a+ -> b+; resources\.cpu: 1 -> 3\)"):
        check_identity(begun, identify(study(resources={"cpu": 3}), "b" * 32))


def test_identity_sees_changed_code_and_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = identify(own(tmp_path, monkeypatch, "net_before", NET), "a")
    new = identify(own(tmp_path, monkeypatch, "net_after", NET.replace("width=8", "width=16, depth=2")), "a")
    renamed = {key.replace("net_before", "net_after"): value for key, value in old.items()}
    code, *rest = list_changes(renamed, new)
    assert code.startswith("code of net_after:Net: ")
    assert rest == ["width of net_after:Net: 8 -> 16", "depth of net_after:Net: absent -> 2"]


def test_identity_leaves_out_what_every_trial_draws() -> None:
    always = study(space={"dropout": {"float": [0.0, 0.5]}, "precision": {"choice": ["float32", "bfloat16"]}})
    assert not {"dropout of lenet5", "training.precision"} & identify(always, "a").keys()
    when = {"batch_size": [64]}
    sometimes = {"batch_size": {"choice": [32, 64]}, "dropout": {"float": [0.1, 0.4], "when": when}}
    assert identify(study(space=sometimes), "a")["dropout of lenet5"] == 0.0


def test_identity_of_earlier_versions_is_not_compared(begun: StudyFolder) -> None:
    begun.storage.remove("identity.json")
    assert check_identity(begun, identify(study(), "b" * 32)) == []


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"images": ', b"\xff\xfe"])
def test_identity_that_is_damaged_is_a_change(begun: StudyFolder, content: bytes) -> None:
    begun.storage.write("identity.json", content)
    with pytest.raises(StudyError, match=r"\(identity\.json: damaged: .*\); .*--accept-changes"):
        check_identity(begun, identify(study(), "a" * 32))
