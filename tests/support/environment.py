"""Environments of commands that a test starts."""

import os


def clean_environment() -> dict[str, str]:
    """Return the environment without settings of this project and of Ray, but for Ray's folder."""
    ours = ("TUNER_", "RAY_", "TUNE_")
    return {name: value for name, value in os.environ.items() if name == "RAY_TMPDIR" or not name.startswith(ours)}
