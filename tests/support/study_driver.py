"""Drivers that a test can kill, each a process of its own."""

import logging
import multiprocessing
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import ray

from tuner.config.study import load_spec
from tuner.study.run import StudyRun
from tuner.study.trainable import TrialTrainable

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])  # the seconds that the imports take are paid once


def start(spec: Path, results: Path | str, address: str, trainable: type[TrialTrainable]) -> ForkServerProcess:
    """Start a driver that runs a study file until it is killed."""
    process = PROCESSES.Process(target=_run, args=(spec, results, address, trainable))
    process.start()
    return process


def _run(spec: Path, results: Path | str, address: str, trainable: type[TrialTrainable]) -> None:
    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    StudyRun(load_spec(spec), results, trainable=trainable).run()
