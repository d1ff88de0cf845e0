"""Environments of commands that a test starts."""

import os

NICENESS = "RAY_worker_niceness"
"""Variable of Ray with the niceness of its workers, which is 15 by default."""


def clean_environment() -> dict[str, str]:
    """Return the environment without settings of this project and of Ray, but for Ray's folder and niceness."""
    ours, kept = ("TUNER_", "RAY_", "TUNE_"), ("RAY_TMPDIR", NICENESS)
    return {name: value for name, value in os.environ.items() if name in kept or not name.startswith(ours)}
