"""Scratch folders go with their processes, however those end."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tuner.storage.scratch import ScratchFolder, sweep_scratch_folders

HOLDING = """
import sys
from tuner.storage.scratch import ScratchFolder

scratch = ScratchFolder()
(scratch.path / "deeper").mkdir()
(scratch.path / "deeper" / "file").touch()
print(scratch.path, flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


@pytest.mark.slow
def test_sweep_removes_folders_of_dead_processes(temporary: Path) -> None:
    (temporary / "tuner-of-somebody-else").mkdir()
    with subprocess.Popen([sys.executable, "-c", HOLDING], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().decode().strip())
        assert folder.parent == temporary
        sweep_scratch_folders()
        assert (folder / "deeper" / "file").exists()
        process.kill()
    assert folder.exists()
    scratch = ScratchFolder()
    assert sorted(temporary.iterdir()) == sorted([temporary / "tuner-of-somebody-else", scratch.path])
    scratch.remove()
    assert list(temporary.iterdir()) == [temporary / "tuner-of-somebody-else"]


def test_remove_keeps_the_lock_of_a_folder_in_use(temporary: Path) -> None:
    scratch = ScratchFolder()
    stubborn = scratch.path / "stubborn"
    stubborn.mkdir()

    def rmtree(path: Path, **_: object) -> None:
        assert path == stubborn  # a process still writes there

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shutil.rmtree", rmtree)
        scratch.remove()
    assert stubborn.exists()
    sweep_scratch_folders()
    assert list(temporary.iterdir()) == []
