"""Processes forked from one that has imported Ray and torch.

The tests pay for these imports once.
"""

import logging
import multiprocessing
import os
import subprocess
import sys
import tempfile
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import ray
import torch  # noqa: F401

from tests.support.waiting import PATIENCE
from tuner.config.study import load_spec
from tuner.search.ray_internals import show_token
from tuner.study.run import StudyRun
from tuner.study.trainable import TrialTrainable

ROOT = Path(__file__).parents[2]
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])


def start_driver(spec: Path, results: Path | str, address: str, trainable: type[TrialTrainable]) -> ForkServerProcess:
    """Start a driver that runs a study file until it is killed."""
    process = PROCESSES.Process(target=_drive, args=({**os.environ}, spec, results, address, trainable))
    process.start()
    return process


def _drive(
    environment: dict[str, str], spec: Path, results: Path | str, address: str, trainable: type[TrialTrainable]
) -> None:
    _replace_environment(environment)
    _connect(address)
    StudyRun(load_spec(spec), results, trainable=trainable).run()


def _connect(address: str) -> None:
    os.environ.pop("RAY_AUTH_MODE", None)
    show_token()  # because Ray was imported before its token was there
    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)


def _replace_environment(environment: dict[str, str]) -> None:
    """Set all variables, because those of the first process may be older."""
    os.environ.clear()
    os.environ.update(environment)


def call_tuner(
    *words: object, folder: Path = ROOT, environment: dict[str, str], address: str | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run the command line in a forked process without a terminal.

    Args:
        words: The words after `python -m tuner`.
        folder: The folder to run in.
        environment: All its environment.
        address: A local Ray that is already started. None: the command starts its own.
    """
    arguments = [*map(str, words)]
    with tempfile.TemporaryDirectory() as said:
        out, err = Path(said, "out"), Path(said, "err")
        process = PROCESSES.Process(target=_main, args=(arguments, folder, environment, address, out, err))
        process.start()
        process.join(PATIENCE)
        assert process.exitcode is not None, out.read_text() + err.read_text()
        return subprocess.CompletedProcess(arguments, process.exitcode, out.read_text(), err.read_text())


def _main(
    words: list[str], folder: Path, environment: dict[str, str], address: str | None, out: Path, err: Path
) -> None:
    for number, file in ((1, out), (2, err)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
    os.chdir(folder)
    _replace_environment(environment)
    sys.path.append(str(folder))
    sys.argv = [str(ROOT / "tuner" / "__main__.py"), *words]
    if address is not None:
        _connect(address)
    from tuner.cli.main import main  # here, because its consoles read the environment

    main()
