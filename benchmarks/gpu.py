"""Measure all that needs a GPU in under ten minutes.

The parts: the tests marked `cuda`, speed beside a bare loop, memory of a process, ResNet-9 towards
94 % on CIFAR-10, and the 30 trainings of report 001's Table 1.
All is written to one JSON file, part by part. A part that would begin after the deadline is skipped.
Without a GPU the script exits with 2.

    python benchmarks/gpu.py [--data DIR] [--output FILE] [--minutes N]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name

from tuner.config.study import StudyConfig, parse_spec
from tuner.config.training import TrainingConfig
from tuner.config.yaml import parse_yaml
from tuner.data import load
from tuner.data.augment import augment
from tuner.data.device import DeviceDataset
from tuner.errors import first_line
from tuner.training.loop import CHECK_EVERY, Trainer
from tuner.training.memory import CONTEXT_BYTES, release_memory
from tuner.training.network import build_network
from tuner.training.optimizer import build_optimizer
from tuner.training.precision import choose
from tuner.training.probe import gpu_need

ROOT = Path(__file__).parents[1]
MINUTES = 9.5
TARGET = 0.94
"""Accuracy that David Page's ResNet-9 reaches on CIFAR-10."""
PAGE = {"learning_rate": 0.4, "weight_decay": 5e-4, "label_smoothing": 0.2}
TABLE1 = ("vazquez_exp1", "vazquez_exp2", "vazquez_exp3", "vazquez_exp4")

Report = dict[str, Any]


def read_study(path: str) -> Report:
    """Read a study file of this repository as a dictionary."""
    return dict(parse_yaml((ROOT / path).read_text(), path))


def table1_studies() -> list[Report]:
    """Return the studies behind the 30 rows of report 001's Table 1."""
    studies = [read_study(f"search_spaces/published/{name}.yaml") for name in TABLE1]
    return [{key: value for key, value in study.items() if key != "repeats"} for study in studies]


def resnet_study() -> Report:
    """Return ResNet-9's study with all training images and David Page's values."""
    study = read_study("search_spaces/resnet.yaml")
    return {
        "study": "resnet9",
        "dataset": {**study["dataset"], "validation": "test"},
        "training": {**study["training"], **PAGE},
        "space": {},
        "protocol": "as_published",
    }


@dataclass(frozen=True)
class Plan:
    """Sizes of all parts, which a test makes tiny.

    Attributes:
        device: Device that trains: cuda | cpu.
        deadline: Monotonic time after which no part and no epoch begins.
        data: Folder in which data sets are searched first.
        table1: Studies whose trials are the rows of Table 1.
        resnet: Study of one trial, trained towards TARGET.
        timed: Studies whose recipes are timed beside a bare loop.
        timed_epochs: Epochs of each timing, after one that warms up.
        use_ray: Run the studies with Ray and Optuna, not through the training loop alone.
    """

    device: str
    deadline: float
    data: Path | None = None
    table1: list[Report] = field(default_factory=table1_studies)
    resnet: Report = field(default_factory=resnet_study)
    timed: list[Report] = field(default_factory=lambda: [resnet_study(), table1_studies()[0]])
    timed_epochs: int = 2
    use_ray: bool = find_spec("ray") is not None and find_spec("optuna") is not None

    @property
    def seconds_left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()


def open_data(plan: Plan, spec: StudyConfig) -> DeviceDataset:
    """Open a study's images on the device of the plan."""
    return DeviceDataset.open(load(spec.dataset, plan.data), spec.dataset, plan.device)


def run_tests(plan: Plan) -> Report:
    """Run the tests marked `cuda`."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "cuda", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=max(1.0, plan.seconds_left))
    return {"passed": done.returncode == 0, "summary": (done.stdout.strip().splitlines() or [""])[-1]}


def measure_speed(plan: Plan) -> Report:
    """Measure images per second of the training loop and a bare loop."""
    return {study["study"]: dict(_speeds(plan, parse_spec(study))) for study in plan.timed}


def _speeds(plan: Plan, spec: StudyConfig) -> Iterator[tuple[str, Any]]:
    data = open_data(plan, spec)
    recipe = spec.training_config({}).model_copy(update={"epochs": plan.timed_epochs + 1, "learning_rate": 1e-3})
    trainer = Trainer(recipe, data)
    yield "device", trainer.device_description
    seconds = [result.train_seconds for result in trainer][1:]
    yield "images_per_second", len(data.train) * len(seconds) / sum(seconds)
    yield "bare_images_per_second", bare_speed(recipe, data)


def bare_speed(recipe: TrainingConfig, data: DeviceDataset) -> float:
    """Measure images per second of a loop as a person writes it."""
    model = build_network(recipe, data, seed=0)
    precision = choose(recipe.precision, data.device, model)
    model.to(memory_format=precision.memory_format).train()
    optimizer = build_optimizer(model.parameters(), recipe)
    generator = torch.Generator(data.device).manual_seed(0)
    began = 0.0
    for epoch in range(recipe.epochs):
        if epoch == 1:
            _synchronize(data.device)
            began = time.perf_counter()
        order = torch.randperm(len(data.train), device=data.device)
        for step, chosen in enumerate(torch.split(order, recipe.batch_size)):
            images, labels = data.train.batch(chosen)
            images = data.normalize(augment(images, data.config.augment, generator))
            with precision.autocast(data.device):
                logits = model(images.to(memory_format=precision.memory_format))
                loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            if step % CHECK_EVERY == 0:
                loss.item()
    _synchronize(data.device)
    return len(data.train) * (recipe.epochs - 1) / (time.perf_counter() - began)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure_memory(plan: Plan) -> Report:
    """Measure the memory of CUDA itself and of the largest trial."""
    spec = parse_spec(plan.resnet)
    need = gpu_need(spec, load(spec.dataset, plan.data).folder, plan.data)
    return {
        "context_bytes_assumed": CONTEXT_BYTES,
        "context_bytes_measured": _context_bytes(),
        "largest_trial": need.what,
        "largest_trial_bytes": need.bytes,
        "gpu_bytes": need.of,
        "trials_by_memory": need.of // need.bytes if need.bytes else 0,
    }


def _context_bytes() -> int:
    """Measure what a process that only opens CUDA takes of the GPU's memory."""
    code = "import torch; torch.zeros(1, device='cuda'); print(torch.cuda.memory_reserved(), flush=True); input()"
    before = torch.cuda.mem_get_info()[0]
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        reserved = int(process.stdout.readline())
        taken = before - torch.cuda.mem_get_info()[0]
        process.communicate("\n")
    return taken - reserved


def train_resnet(plan: Plan) -> Report:
    """Train ResNet-9 until its end or the deadline, and compare its accuracy with TARGET."""
    spec = parse_spec(plan.resnet)
    trainer = Trainer(spec.training_config({}), open_data(plan, spec), seed=0)
    accuracies, seconds = [], 0.0
    for result in trainer:
        accuracies.append(result.val_accuracy)
        seconds += result.train_seconds
        if plan.seconds_left <= 0:
            break
    return {
        "device": trainer.device_description,
        "epochs": trainer.epoch,
        "epochs_planned": trainer.config.epochs,
        "test_accuracies": accuracies,
        "target": TARGET,
        "reached": trainer.epoch == trainer.config.epochs and accuracies[-1] >= TARGET,
        "train_seconds": seconds,
    }


def reproduce_table1(plan: Plan) -> Report:
    """Train the rows of Table 1, with or without Ray."""
    began = time.monotonic()
    train_study = _with_ray if plan.use_ray else _with_loop
    rows = [row for study in plan.table1 for row in train_study(plan, study)]
    planned = sum(len(parse_spec(study).space.grid()) for study in plan.table1)
    return {
        "with": "ray" if plan.use_ray else "loop",
        "trainings": len(rows),
        "trainings_planned": planned,
        "seconds": time.monotonic() - began,
        "rows": rows,
    }


def _with_ray(plan: Plan, study: Report) -> Iterator[Report]:
    """Run a study within the time left and yield its completed trials."""
    if plan.seconds_left <= 0:
        return
    from tuner.study.run import run_study

    spec = parse_spec(study | {"budget": {"hours": plan.seconds_left / 3600}})
    with tempfile.TemporaryDirectory(prefix="tuner-gpu-") as results:
        trials = run_study(spec, results, data=plan.data).trials
    for row in trials[trials["state"] == "COMPLETE"].to_dict("records"):
        parameters = {name: row[f"param_{name}"] for name in spec.space.root}
        yield _row(study["study"], parameters, row)


def _with_loop(plan: Plan, study: Report) -> Iterator[Report]:
    """Train the points of a study's grid one after the other, until the deadline."""
    spec = parse_spec(study)
    data = open_data(plan, spec)
    for parameters in spec.space.grid():
        if plan.seconds_left <= 0:
            return
        trainer = Trainer(spec.training_config(parameters), data, seed=0)
        results = list(trainer)
        measured = {
            "val_accuracy": results[-1].val_accuracy,
            "test_accuracy": trainer.evaluate(data.test)[1],
            "train_seconds": sum(result.train_seconds for result in results),
            "device": trainer.device_description,
        }
        yield _row(study["study"], parameters, measured)


def _row(study: str, parameters: Mapping[str, Any], measured: Mapping[Any, Any]) -> Report:
    columns = ("val_accuracy", "test_accuracy", "train_seconds", "device")
    return {"study": study, **parameters, **{name: measured[name] for name in columns}}


PARTS: dict[str, Callable[[Plan], Report]] = {
    "tests": run_tests,
    "speed": measure_speed,
    "memory": measure_memory,
    "resnet9": train_resnet,
    "table1": reproduce_table1,
}


def measure(plan: Plan, output: Path, parts: Mapping[str, Callable[[Plan], Report]] = PARTS) -> Report:
    """Run all parts and write what each has measured, or why it could not."""
    report: Report = {"torch": torch.__version__, "gpu": _gpu(plan.device), "parts": {}}
    for name, part in parts.items():
        began = time.monotonic()
        if plan.seconds_left <= 0:
            measured: Report = {"skipped": "the time is up"}
        else:
            try:
                measured = part(plan)
            except Exception as error:  # because the other parts are still worth their time
                measured = {"error": f"{type(error).__name__}: {first_line(error)}"}
        release_memory(torch.device(plan.device))
        report["parts"][name] = measured | {"part_seconds": round(time.monotonic() - began, 1)}
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(report, indent=2, default=lambda value: value.item()))
        print(f"{name}: {json.dumps(report['parts'][name], default=str)[:200]}", flush=True)
    return report


def _gpu(device: str) -> Report | None:
    if device != "cuda":
        return None
    found = torch.cuda.get_device_properties(0)
    return {"name": found.name, "bytes": found.total_memory, "capability": [found.major, found.minor]}


def main() -> int:
    """Run the benchmark and return its exit code.

    It is 2 without a GPU, 1 if a part failed or was skipped, else 0.
    """
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("TUNER_DATA"), help="folder of data sets")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "gpu.json", help="the JSON file")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="time after which no part begins")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        print("make gpu: torch sees no GPU; run it on a machine that has one", file=sys.stderr)
        return 2
    report = measure(Plan("cuda", time.monotonic() + 60 * given.minutes, given.data), given.output)
    print(f"written: {given.output}")
    return int(any("error" in part or "skipped" in part for part in report["parts"].values()))


if __name__ == "__main__":
    sys.exit(main())
