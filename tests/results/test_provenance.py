import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tuner import __version__
from tuner.results.provenance import describe_run, source


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(
        ["git", *identity, "-C", str(folder), *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "module.py").write_text("one\n")
    git(tmp_path, "add", "package")
    git(tmp_path, "commit", "--quiet", "--message", "one")
    return tmp_path


def test_source_is_the_commit(checkout: Path) -> None:
    assert source(checkout / "package" / "module.py") == {"commit": git(checkout, "rev-parse", "HEAD"), "dirty": False}


def test_source_is_dirty_with_changed_files(checkout: Path) -> None:
    (checkout / "elsewhere.txt").touch()
    assert not source(checkout / "package" / "module.py")["dirty"]
    (checkout / "package" / "new.py").touch()
    assert source(checkout / "package" / "module.py")["dirty"]


def test_source_ignores_checkout_around_package(checkout: Path) -> None:
    installed = checkout / "package" / "site-packages" / "module.py"
    installed.parent.mkdir()
    installed.write_text("one\n")
    assert source(installed) == {"commit": None, "dirty": None}


def test_source_is_none_without_checkout(tmp_path: Path) -> None:
    (tmp_path / "module.py").touch()
    assert source(tmp_path / "module.py") == {"commit": None, "dirty": None}


def test_describe_run_names_versions_and_hardware() -> None:
    run = describe_run({"name": "digits", "fingerprint": "abc"}, seed=7)
    assert json.loads(json.dumps(run)) == run
    assert (run["dataset"], run["seed"]) == ({"name": "digits", "fingerprint": "abc"}, 7)
    assert run["versions"]["tuner"] == __version__
    assert all(run["versions"].values())
    assert run["hardware"]["cores"] == os.cpu_count()
    assert run["hardware"]["memory_bytes"] > 2**28
    assert run["directory"] == str(Path.cwd())


def test_describe_run_keeps_command_line() -> None:
    code = "from tuner.results.provenance import describe_run; print(describe_run({}, 0)['command'])"
    command = [sys.executable, "-c", code, "--set", "search.trials=4"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == str(command)


def test_describe_run_lists_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA A, 81559 MiB, 570.1'\necho 'NVIDIA B, 81559 MiB, 570.1'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert describe_run({}, 0)["hardware"]["gpus"] == ["NVIDIA A, 81559 MiB, 570.1", "NVIDIA B, 81559 MiB, 570.1"]
    program.write_text("#!/bin/sh\nexit 9\n")
    assert describe_run({}, 0)["hardware"]["gpus"] == []
