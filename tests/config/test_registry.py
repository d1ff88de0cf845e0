"""Networks by name: known ones, hyperparameters of a user's own, and refusals."""

import subprocess
import sys
from pathlib import Path

import pytest

from tuner.config.registry import ARCHITECTURES, TORCHVISION, architecture
from tuner.config.study import parse_spec
from tuner.config.user_models import is_own, own_network
from tuner.errors import SpecError

OWN = """
class Network:
    def __init__(self, in_channels, classes, image_size, width=1, *, units=16, rate=0.5, bias=True, kind="a", of=None):
        pass
"""


def refusal(name: object) -> str:
    with pytest.raises(SpecError) as caught:
        architecture(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_registry_names_the_networks_of_torchvision() -> None:
    import torchvision

    assert list(TORCHVISION) == torchvision.models.list_models(module=torchvision.models)


def test_architecture_finds_networks_of_three_kinds() -> None:
    assert architecture("alexnet") is ARCHITECTURES["alexnet"]
    assert architecture("torchvision:alexnet") != ARCHITECTURES["alexnet"]
    assert [is_own(name) for name in ("alexnet", "torchvision:alexnet", "a.b:C")] == [False, False, True]
    assert architecture("timm:resnet18").doc == "resnet18 of timm"
    assert not is_own("timm:resnet18.a1_in1k")


def test_own_network_declares_its_keyword_only_defaults() -> None:
    declared = architecture("tests.support.networks:Tiny").hyperparameters
    assert {name: parameter.default for name, parameter in declared.items()} == {
        "units": 16,
        "dropout": 0.0,
        "normalized": False,
        "activation": "relu",
    }
    assert architecture("tests.support.networks:lazy").hyperparameters == {}


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("resnet", "architecture: found 'resnet'; did you mean 'resnet9'? allowed: alexnet, lenet5,"),
        (None, "architecture: found null; allowed: alexnet,"),
        (["lenet5"], "architecture: found ['lenet5']; did you mean 'lenet5'? allowed: alexnet,"),
        ("torchvision:resnet81", "architecture: torchvision has no 'resnet81'; did you mean 'resnet18'? allowed: "),
        ("torchvision:", "architecture: torchvision has no ''; allowed: alexnet, convnext_base"),
        ("timm:resnet81", "architecture: timm has no 'resnet81'; did you mean 'resnet18'? allowed: "),
        ("timm:resnet18.a1_in2k", "architecture: timm has no weights 'a1_in2k' for resnet18; did you mean 'a1_in1k'? "),
        ("timm:", "architecture: timm has no ''; allowed: "),
        ("timm:hf-hub:someone/net", "architecture: timm has no 'hf-hub:someone/net'; allowed: "),
        ("torchvison:vgg11", "architecture: torchvison:vgg11: importing 'torchvison' failed with ModuleNot"),
        (":Tiny", "architecture: :Tiny: importing '' failed with ValueError: Empty module name; allowed: torch"),
        ("tests.network:Tiny", "architecture: tests.network:Tiny: importing 'tests.network' failed with ModuleNot"),
        ("tests.support.networks:Tinny", "architecture: tests.support.networks has no class or function 'Tinny'; did you mean 'Tiny'?"),  # noqa: E501
        ("tests.support.networks:", "architecture: tests.support.networks has no class or function ''; allowed: Clashing, Demanding,"),  # noqa: E501
        ("tests.support.networks:instance", "architecture: tests.support.networks has no class or function 'instance'; allowed: Clash"),  # noqa: E501
        ("tests.support.networks:Narrow", "architecture: tests.support.networks:Narrow: too many positional arguments; expected: "),  # noqa: E501
        ("tests.support.networks:Demanding", "architecture: tests.support.networks:Demanding: missing a required argument: 'units'; "),  # noqa: E501
    ],
)  # fmt: skip
def test_architecture_refuses_unknown_name_in_one_line(name: object, line: str) -> None:
    assert refusal(name).startswith(line)


def test_own_network_refuses_module_that_breaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_networks.py").write_text("raise RuntimeError('no\\nway')\n")
    monkeypatch.syspath_prepend(tmp_path)
    line = refusal("broken_networks:Network")
    assert line.startswith(
        "architecture: broken_networks:Network: importing 'broken_networks' failed with RuntimeError"
    )
    assert ": no; allowed: " in line


@pytest.mark.slow
def test_console_script_imports_from_the_current_directory(tmp_path: Path) -> None:
    (tmp_path / "my_networks.py").write_text(OWN)
    (tmp_path / "study.yaml").write_text(
        "study: own\ntraining: {architecture: my_networks:Network, kind: b}\nspace: {units: {int: [4, 8]}}\n"
    )
    script = Path(sys.executable).with_name("tuner")
    for command in ([str(script)], [sys.executable, "-m", "tuner"]):
        done = subprocess.run([*command, "validate", "study.yaml"], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "kind: b" in done.stdout


def test_architecture_imports_nothing_but_own_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    code = (
        "import sys; from tuner.config.registry import architecture; architecture('alexnet'); "
        "architecture('torchvision:resnet18'); assert not {'torch', 'torchvision', 'timm'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    own_network("tests.support.networks:Tiny")
    assert "" in sys.path


def test_timm_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    line = "architecture: 'timm:resnet18' needs timm, which is not installed; pip install 'tuner[timm]'"
    assert refusal("timm:resnet18") == line
    text = {"study": "a", "training": {"architecture": "timm:resnet18"}, "space": {}}
    assert parse_spec(text, stored=True).architectures == ["timm:resnet18"]  # so that its rows are read
