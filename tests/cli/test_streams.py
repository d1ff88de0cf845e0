"""The command line with streams that are closed, full, or of an old encoding."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import tuner
from tests.cli.test_main import DIGITS, ROOT, command
from tuner.cli.main import app


def shell(words: str, *arguments: object, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the command within a shell's line, as `{} | head -1`."""
    line = words.format('"$@"')
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}", "bash", *command(*arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("words", ["{} > /dev/full", "{} >&-", "{} 2>&- >&-"])
@pytest.mark.slow
def test_output_that_cannot_be_written_is_ignored(words: str) -> None:
    done = shell(words, "validate", DIGITS)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)


@pytest.mark.slow
def test_old_encodings_replace_characters_they_lack(tmp_path: Path) -> None:
    done = shell("{}", "show", "“", "--results", tmp_path, PYTHONIOENCODING="ascii")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["1355700", "007", "1e5", "true", "null", "2024-01-01", "0x1F", "1_000", "off"])
def test_names_are_text_whatever_they_look_like(name: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["validate", DIGITS, "--name", name])
    assert (done.exit_code, done.stderr) == (0, f"{DIGITS}: valid\n")
    (tmp_path / "again.yaml").write_text(done.stdout)
    assert tuner.load_spec(tmp_path / "again.yaml").study == name


@pytest.mark.slow
def test_refusals_hide_secrets(tmp_path: Path) -> None:
    done = shell("{}", "ls", "--results", tmp_path / "none?token=abc")
    assert done.returncode == 2
    assert "none?token=***" in done.stderr


INTERRUPTED = """
import atexit, os, signal
from tuner.cli import main
from tuner.cli.streams import until_interrupted

def wait():
    print("begun")
    os.kill(os.getpid(), signal.SIGINT)
    signal.pause()

def serve():
    with until_interrupted():
        wait()

atexit.register(print, "the end of Python, which may hang")
main.app = {}
main.main()
"""


@pytest.mark.parametrize(("name", "code"), [("wait", 130), ("serve", 0)])
@pytest.mark.slow
def test_interrupt_ends_without_the_end_of_python(name: str, code: int) -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED.format(name)], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (code, "begun\n", "")
