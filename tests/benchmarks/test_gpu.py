"""The benchmark for GPUs, exercised on the CPU with tiny sizes."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks.gpu import (
    PARTS,
    Plan,
    measure,
    measure_speed,
    reproduce_table1,
    resnet_study,
    table1_studies,
    train_resnet,
)
from tests.support.waiting import PATIENCE
from tuner.config.study import parse_spec

ROOT = Path(__file__).parents[2]
DIGITS = {"name": "digits", "train": 320, "validation": 64}
SMALL = {
    "study": "small",
    "dataset": DIGITS,
    "training": {"architecture": "vazquez_base", "batch_size": 64, "epochs": 2},
    "space": {"learning_rate": {"choice": [1e-3, 1e-2]}},
    "search": {"sampler": "grid"},
    "resources": {"concurrent": 1},
    "keep_weights": 0,
}
SINGLE = SMALL | {
    "study": "single",
    "training": {"architecture": "resnet9", "filters": 2, "batch_size": 64, "epochs": 2},
    "space": {},
}


def plan(seconds: float = 600.0, *, use_ray: bool = False) -> Plan:
    return Plan(
        "cpu",
        time.monotonic() + seconds,
        table1=[SMALL],
        resnet=SINGLE,
        timed=[SINGLE],
        timed_epochs=1,
        use_ray=use_ray,
    )


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_table1_has_thirty_trainings() -> None:
    assert sum(len(parse_spec(study).space.grid()) for study in table1_studies()) == 30


def test_resnet_study_trains_on_all_images() -> None:
    spec = parse_spec(resnet_study())
    assert spec.dataset.validation == "test"
    assert (spec.training_config({}).learning_rate, spec.training_config({}).epochs) == (0.4, 24)


@pytest.mark.slow
def test_speed_is_measured_beside_a_bare_loop() -> None:
    speeds = measure_speed(plan())["single"]
    assert speeds["device"] == "cpu"
    assert speeds["images_per_second"] > 0
    assert speeds["bare_images_per_second"] > 0


def test_resnet_part_tells_accuracy_and_target() -> None:
    trained = train_resnet(plan())
    assert len(trained["test_accuracies"]) == trained["epochs"] == trained["epochs_planned"] == 2
    assert trained["reached"] is (trained["test_accuracies"][-1] >= 0.94)


def test_resnet_part_ends_at_the_deadline() -> None:
    trained = train_resnet(plan(seconds=0.0))
    assert (trained["epochs"], trained["reached"]) == (1, False)


def test_table1_is_trained_by_the_loop() -> None:
    table = reproduce_table1(plan())
    assert (table["with"], table["trainings"], table["trainings_planned"]) == ("loop", 2, 2)
    assert [row["learning_rate"] for row in table["rows"]] == [1e-3, 1e-2]
    assert all(row["device"] == "cpu" and row["test_accuracy"] > 0.1 for row in table["rows"])


@pytest.mark.usefixtures("ray_session")
def test_table1_is_trained_by_studies() -> None:
    table = reproduce_table1(plan(use_ray=True))
    assert (table["with"], table["trainings"], table["trainings_planned"]) == ("ray", 2, 2)
    assert sorted(row["learning_rate"] for row in table["rows"]) == [1e-3, 1e-2]


@pytest.mark.slow
def test_measure_writes_every_part(tmp_path: Path) -> None:
    def fail(_: Plan) -> dict[str, object]:
        raise RuntimeError("CUDA error\nand much more")

    parts = {"speed": measure_speed, "memory": fail, "table1": reproduce_table1}
    report = measure(plan(), tmp_path / "new" / "gpu.json", parts)
    written = json.loads((tmp_path / "new" / "gpu.json").read_text())
    assert written == json.loads(json.dumps(report))
    assert written["parts"]["memory"]["error"] == "RuntimeError: CUDA error"
    assert written["parts"]["table1"]["trainings"] == 2


def test_measure_skips_parts_after_the_deadline(tmp_path: Path) -> None:
    report = measure(plan(seconds=0.0), tmp_path / "gpu.json")
    assert list(report["parts"]) == list(PARTS)
    assert all(part["skipped"] == "the time is up" for part in report["parts"].values())


@pytest.mark.slow
def test_script_without_gpu_exits_with_two(tmp_path: Path) -> None:
    command = [sys.executable, "benchmarks/gpu.py", "--output", str(tmp_path / "gpu.json")]
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=ROOT, env=hidden, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "make gpu: torch sees no GPU; run it on a machine that has one\n"
    assert not (tmp_path / "gpu.json").exists()
