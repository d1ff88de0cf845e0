"""Files beside the study that would be imported instead of installed modules."""

import subprocess
import sys
from pathlib import Path

import pytest

from tuner.cluster.hidden_modules import refuse_hidden_modules
from tuner.errors import SpecError

STUDY = "study: demo\ntraining: {architecture: lenet5_classic}\nspace: {}\n"


@pytest.mark.parametrize("name", ["tuner", "ray", "torch", "yaml", "random", "numpy"])
def test_module_of_the_user_that_hides_another_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.py").write_text("raise RuntimeError")
    (tmp_path / "networks_of_mine.py").write_text("")
    with pytest.raises(SpecError) as caught:
        refuse_hidden_modules(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / name}.py: hides the module of that name from the workers; rename")
    (tmp_path / f"{name}.py").rename(tmp_path / name)
    refuse_hidden_modules(tmp_path)  # a folder or file that Python does not import


def test_package_that_hides_another_is_refused(tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").touch()
    with pytest.raises(SpecError, match="torch: hides the module"):
        refuse_hidden_modules(tmp_path)


def test_folder_of_the_project_itself_hides_nothing() -> None:
    refuse_hidden_modules(Path(__file__).parents[2])


@pytest.mark.slow
@pytest.mark.parametrize("command", [[str(Path(sys.executable).with_name("tuner"))], [sys.executable, "-m", "tuner"]])
def test_command_line_refuses_hidden_modules_before_ray(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    for name in ("ray", "torch", "yaml", "random"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('the wrong module')\n")
    done = subprocess.run([*command, "run", "study.yaml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 4
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "results").exists()
