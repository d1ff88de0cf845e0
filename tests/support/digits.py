"""Small studies of digits, for tests that train for real."""

from tuner.config.study import StudyConfig, parse_spec

TWO_SLOTS: dict[str, object] = {}
"""Resources of a study that trains on both cores."""


def digits(**changes: object) -> StudyConfig:
    """A small study of digits that trains for real, on one slot, because workers take long to start."""
    return parse_spec(
        {
            "study": "small",
            "dataset": {"name": "digits", "validation": 0.2},
            "training": {"architecture": "vazquez_base", "epochs": 4, "batch_size": 64},
            "space": {"learning_rate": {"float": [1e-4, 1e-2], "log": True}},
            "search": {"trials": 4},
            "resources": {"concurrent": 1},
            **changes,
        }
    )
