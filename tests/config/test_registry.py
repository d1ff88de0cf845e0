"""Names of networks that are not ours: which there are, what they declare, and how a wrong one is refused."""

import subprocess
import sys
from pathlib import Path

import pytest

from tuner.config.registry import ARCHITECTURES, TORCHVISION, architecture
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


def test_torchvisions_names_are_those_that_it_lists() -> None:
    import torchvision

    assert list(TORCHVISION) == torchvision.models.list_models(module=torchvision.models)


def test_an_architecture_is_ours_or_of_torchvision_or_the_users_own() -> None:
    assert architecture("alexnet") is ARCHITECTURES["alexnet"]
    assert architecture("torchvision:alexnet") != ARCHITECTURES["alexnet"]
    assert [is_own(name) for name in ("alexnet", "torchvision:alexnet", "a.b:C")] == [False, False, True]


def test_hyperparameters_of_an_own_class_are_its_keyword_only_numbers_booleans_and_texts() -> None:
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
def test_a_name_that_is_none_is_refused_in_one_line(name: object, line: str) -> None:
    assert refusal(name).startswith(line)


def test_a_module_that_breaks_while_it_is_imported_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_networks.py").write_text("raise RuntimeError('no\\nway')\n")
    monkeypatch.syspath_prepend(tmp_path)
    line = refusal("broken_networks:Network")
    assert line.startswith(
        "architecture: broken_networks:Network: importing 'broken_networks' failed with RuntimeError"
    )
    assert ": no; allowed: " in line


def test_the_console_script_finds_a_class_in_the_current_directory(tmp_path: Path) -> None:
    (tmp_path / "my_networks.py").write_text(OWN)
    (tmp_path / "study.yaml").write_text(
        "study: own\ntraining: {architecture: my_networks:Network, kind: b}\nspace: {units: {int: [4, 8]}}\n"
    )
    script = Path(sys.executable).with_name("tuner")
    for command in ([str(script)], [sys.executable, "-m", "tuner"]):
        done = subprocess.run([*command, "validate", "study.yaml"], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "kind: b" in done.stdout


def test_nothing_is_imported_for_a_network_that_is_not_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    code = (
        "import sys; from tuner.config.registry import architecture; architecture('alexnet'); "
        "architecture('torchvision:resnet18'); assert not {'torch', 'torchvision'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    own_network("tests.support.networks:Tiny")
    assert "" in sys.path
