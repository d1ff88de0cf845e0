"""What a study learns from earlier ones: what fits, what is refused, and what its folder keeps."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tuner.config.study import StudyConfig, parse_spec
from tuner.errors import StudyError
from tuner.results.folder import StudyFolder
from tuner.results.tables import now
from tuner.study.learning import FILE, keep, learn

RATE = {"float": [1e-4, 1e-1], "log": True}
SPACE = {"learning_rate": RATE, "dropout": {"float": [0, 0.5]}, "batch_size": {"choice": [32, 64]}}


def study(name: str = "next", space: dict[str, Any] | None = None, **changes: Any) -> StudyConfig:
    training = {"architecture": "vazquez_base", "epochs": 9, **changes.pop("training", {})}
    search = {"learn_from": ["earlier"]} if name == "next" else {}
    raw = {"study": name, "training": training, "space": space or SPACE, "stopping": "asha"}
    return parse_spec(raw | {"search": search | changes.pop("search", {})} | changes)


def write(root: Path, spec: StudyConfig, *rows: dict[str, Any], images: str = "abc") -> StudyFolder:
    """Write a study with completed trials of three epochs each."""
    folder = StudyFolder(root / spec.study)
    folder.storage.create()
    folder.write_spec(spec)
    folder.write_identity({"images": images})
    tables = folder.tables(spec)
    for number, row in enumerate(rows):
        cells = {f"param_{name}": value for name, value in row.items()}
        shared = {"study": spec.study, "number": number, "attempt": 1, "updated_at": now()}
        tables.append("trials", {**shared, "state": "PRUNED", "purpose": "search", **cells})
        for epoch in (1, 2, 3):
            told = {"epoch": epoch, "val_accuracy": (number + epoch) / 10, "at": now()}
            tables.append("epochs", {key: shared[key] for key in ("study", "number", "attempt")} | told)
    tables.flush()
    return folder


ROWS = [
    {"learning_rate": 0.01, "dropout": 0.1, "batch_size": 32},
    {"learning_rate": 0.5, "dropout": 0.1, "batch_size": 32},
    {"learning_rate": 0.001, "dropout": 0.2, "batch_size": 128},
    {"learning_rate": 0.002, "dropout": 0.2, "batch_size": 64},
]
WIDE = SPACE | {"learning_rate": {"float": [1e-4, 1.0], "log": True}, "batch_size": {"choice": [32, 64, 128]}}


def test_learn_keeps_trials_inside_the_space(tmp_path: Path) -> None:
    write(tmp_path, study("earlier", WIDE | {"momentum": {"float": [0, 0.9]}}), *ROWS)
    (learned,) = learn(StudyFolder(tmp_path / "next"), study(), "abc")
    assert [trial.parameters["learning_rate"] for trial in learned.trials] == [0.002, 0.01]  # the best first
    assert learned.trials[0].values == {1: 0.4, 3: 0.6}  # at the rungs
    assert not learned.trials[0].is_complete
    assert str(learned) == (
        "earlier (same task): 2 of 4 trials fit, 1 left out by learning_rate, 1 left out by batch_size;"
        " not searched here: momentum"
    )


def test_learn_takes_constants_of_the_earlier_study(tmp_path: Path) -> None:
    earlier = study("earlier", {"learning_rate": RATE}, training={"batch_size": 32})
    write(tmp_path, earlier, {"learning_rate": 0.01})
    (learned,) = learn(StudyFolder(tmp_path / "next"), study(), "abc")
    assert learned.trials[0].parameters == {"learning_rate": 0.01, "dropout": 0.0, "batch_size": 32}


@pytest.mark.parametrize(
    ("changes", "images", "same"),
    [
        ({}, "abc", True),
        ({}, "xyz", False),
        ({"training": {"optimizer": "sgd"}}, "abc", False),
        ({"dataset": {"validation": 0.3}}, "abc", False),
    ],
)
def test_same_task_has_images_split_and_constants(
    changes: dict[str, Any], images: str, same: bool, tmp_path: Path
) -> None:
    write(tmp_path, study("earlier", **changes), ROWS[0], images=images)
    (learned,) = learn(StudyFolder(tmp_path / "next"), study(), "abc")
    assert learned.is_same_task == same


@pytest.mark.parametrize(
    ("search", "line"),
    [
        (
            {"learn_from": ["erlier"]},
            "no study 'erlier' in .*; did you mean 'earlier'. allowed: .*earlier.*, or a path",
        ),
        ({"learn_from": ["next"]}, "'next' is this study; allowed: earlier ones"),
        ({"learn_from": ["other"]}, "'other' shares no parameter; allowed: batch_size, dropout, learning_rate"),
        ({"learn_from": ["empty"]}, "'empty' does not measure val_accuracy; allowed: studies that do"),
        ({"learn_from": ["outside"]}, r"no trial of 'outside' lies in this space \(1 by learning_rate\)"),
    ],
)
def test_learn_refuses_useless_study(search: dict[str, Any], line: str, tmp_path: Path) -> None:
    write(tmp_path, study("earlier"), ROWS[0])
    write(tmp_path, study("other", {"weight_decay": RATE}), {"weight_decay": 0.01})
    write(tmp_path, study("empty"))
    write(tmp_path, study("outside", WIDE), ROWS[1])
    with pytest.raises(StudyError, match=f"^search.learn_from: {line}$"):
        learn(StudyFolder(tmp_path / "next"), study(search=search), "abc")


def test_learn_names_a_path_where_no_study_is(tmp_path: Path) -> None:
    line = "no study 'earlier' in .*; allowed: the path of a study's folder$"
    with pytest.raises(StudyError, match=line):
        learn(StudyFolder(tmp_path / "next"), study(), "abc")


def test_resume_reads_what_was_kept(tmp_path: Path) -> None:
    earlier = write(tmp_path, study("earlier"), *ROWS[:1])
    folder = write(tmp_path, study())
    first = learn(folder, study(), "abc")
    keep(folder, first)
    write(tmp_path, study("earlier"), *ROWS)  # which has grown
    assert learn(folder, study(), "abc") == first
    shutil.rmtree(earlier.storage.root)
    assert learn(folder, study(), "abc") == first


def test_resume_without_what_was_kept_is_refused(tmp_path: Path) -> None:
    write(tmp_path, study("earlier"), *ROWS)
    folder = write(tmp_path, study(), ROWS[0])
    with pytest.raises(StudyError, match=r"next/learned.json: missing, .*; restore it, or start over with --fresh$"):
        learn(folder, study(), "abc")
    for damaged in (b"{", b"[1]", json.dumps([{"study": "earlier"}]).encode()):
        folder.storage.write(FILE, damaged)
        with pytest.raises(StudyError, match=r"next/learned.json: damaged: .*--fresh$"):
            learn(folder, study(), "abc")


def test_study_that_learns_nothing_keeps_nothing(tmp_path: Path) -> None:
    spec = study("earlier")
    folder = write(tmp_path, spec)
    keep(folder, learn(folder, spec, "abc"))
    assert not folder.storage.exists(FILE)
