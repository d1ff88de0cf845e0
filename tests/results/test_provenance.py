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


def test_the_source_is_the_commit_of_the_checkout(checkout: Path) -> None:
    assert source(checkout / "package" / "module.py") == {"commit": git(checkout, "rev-parse", "HEAD"), "dirty": False}


def test_the_source_is_dirty_where_a_file_of_the_package_differs_or_is_new(checkout: Path) -> None:
    (checkout / "elsewhere.txt").touch()
    assert not source(checkout / "package" / "module.py")["dirty"]
    (checkout / "package" / "new.py").touch()
    assert source(checkout / "package" / "module.py")["dirty"]


def test_a_package_installed_below_another_checkout_has_no_source(checkout: Path) -> None:
    installed = checkout / "package" / "site-packages" / "module.py"
    installed.parent.mkdir()
    installed.write_text("one\n")
    assert source(installed) == {"commit": None, "dirty": None}


def test_without_a_checkout_there_is_no_source(tmp_path: Path) -> None:
    (tmp_path / "module.py").touch()
    assert source(tmp_path / "module.py") == {"commit": None, "dirty": None}


def test_a_run_says_what_ran_on_what() -> None:
    run = describe_run({"name": "digits", "fingerprint": "abc"}, seed=7)
    assert json.loads(json.dumps(run)) == run
    assert (run["dataset"], run["seed"]) == ({"name": "digits", "fingerprint": "abc"}, 7)
    assert run["versions"]["tuner"] == __version__
    assert all(run["versions"].values())
    assert run["hardware"]["cores"] == os.cpu_count()
    assert run["hardware"]["memory_bytes"] > 2**28
    assert run["directory"] == str(Path.cwd())


def test_a_run_keeps_its_whole_command_line() -> None:
    code = "from tuner.results.provenance import describe_run; print(describe_run({}, 0)['command'])"
    command = [sys.executable, "-c", code, "--set", "search.trials=4"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == str(command)


def test_a_run_names_the_gpus_that_nvidia_smi_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA A, 81559 MiB, 570.1'\necho 'NVIDIA B, 81559 MiB, 570.1'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert describe_run({}, 0)["hardware"]["gpus"] == ["NVIDIA A, 81559 MiB, 570.1", "NVIDIA B, 81559 MiB, 570.1"]
    program.write_text("#!/bin/sh\nexit 9\n")
    assert describe_run({}, 0)["hardware"]["gpus"] == []
