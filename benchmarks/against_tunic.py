"""Compare a study with `tunic` of the package cvic: time and value, in turn.

Both train the same network of timm from random weights on the same folder, for the same trials and
epochs without early stopping, and search the same ranges. Neither sees the other's process.

cvic wants Python 3.12. Its code runs on 3.11 too. It needs an environment of its own:

    python -m venv ~/cvic
    ~/cvic/bin/pip install torch torchvision 'ray[train,tune]' timm optuna webdataset scikit-learn
    ~/cvic/bin/pip install scipy statsmodels pandas matplotlib pyyaml tqdm
    ~/cvic/bin/pip install --no-deps --ignore-requires-python cvic
    python benchmarks/against_tunic.py ~/cvic/bin/tunic [--rounds 3] [--trials 6] [--epochs 10]

The value is the best trial's validation accuracy after its last epoch. Differences that remain: tunic's
SGD has no Nesterov momentum, its epochs leave out the last batch if it is smaller, and it asks TPE.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

import tuner
from tuner.config.study import parse_spec

PARTS = {"train": 1197, "val": 300, "test": 300}
"""Digits of each part. tunic does not read those of `test`."""
WARM_UP_EPOCHS = 5
"""Epochs in which tunic's learning rate rises."""
RANGES = {"dr_min": 0.0, "dr_max": 0.0, "ra_ops_min": 2, "ra_ops_max": 2}
"""Ranges of tunic that a study has not: no dropout, and two operations of RandAugment."""


def write_digits(folder: Path, side: int) -> None:
    """Write `folder/PART/CLASS/NUMBER.png` of scikit-learn's digits, enlarged, in RGB."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))[: sum(PARTS.values())]
    for part, chosen in zip(PARTS, np.split(order, np.cumsum([*PARTS.values()])[:-1]), strict=True):
        for number in chosen:
            path = folder / part / str(digits.target[number]) / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = Image.fromarray((digits.images[number] * 255 / 16).astype(np.uint8)).convert("RGB")
            pixels.resize((side, side), Image.Resampling.BICUBIC).save(path)


def study_of(folder: Path, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Return a study with the recipe and the ranges of tunic."""
    return {
        "study": "ours",
        "dataset": {"name": str(folder), "image_size": options.side, "augment": {"flip": True}, "pixels": "standard"},
        "training": {
            "architecture": f"timm:{options.model}",
            "epochs": options.epochs,
            "batch_size": options.batch_size,
            "schedule": "cosine",
            "warm_up": min(WARM_UP_EPOCHS / options.epochs, 0.99),
            "random_resized_crop": 0.08,
        },
        "space": {
            "optimizer": {"choice": ["adamw", "sgd"]},
            "learning_rate": {"float": [1e-5, 1e-1], "log": True},
            "weight_decay": {"float": [1e-6, 1e-2], "log": True},
            "label_smoothing": {"float": [0.0, 0.2]},
            "rand_augment": {"float": [0.0, 15.0]},
            "mixup": {"float": [0.0, 0.4]},
            "cutmix": {"float": [0.0, 1.0]},
        },
        "metrics": ["val_auroc"],
        "search": {"trials": options.trials, "seed": seed},
        "stopping": "none",
        "keep_weights": 0,
    }


def run_ours(folder: Path, scratch: Path, seed: int, options: argparse.Namespace) -> tuple[float, float]:
    """Run a study in a process, and return seconds and the best validation accuracy."""
    file = scratch / "ours.yaml"
    file.write_text(parse_spec(study_of(folder, seed, options)).to_yaml())
    seconds = timed([sys.executable, "-m", "tuner", "run", str(file), "--results", str(scratch)], scratch)
    study = tuner.load_study(scratch / "ours")
    assert (study.trials["state"] == "COMPLETE").all()
    return seconds, float(study.trials["val_accuracy"].max())


def run_tunic(folder: Path, scratch: Path, seed: int, options: argparse.Namespace) -> tuple[float, float]:
    """Run tunic in a process, and return seconds and the best validation accuracy."""
    (scratch / "ranges.json").write_text(json.dumps(RANGES))  # which is YAML too
    command = [str(options.tunic), "--data", str(folder), "--model", options.model, "--no-pretrained", "--no-final"]
    settings = {
        "n-trials": options.trials,
        "epochs": options.epochs,
        "batch-size": options.batch_size,
        "img-size": options.side,
        "workers": options.workers,
        "scheduler": "none",
        "tune-metric": "val_acc",
        "search-space": scratch / "ranges.json",
        "prefix": scratch / "tunic",
        "seed": seed,
    }
    command += [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    seconds = timed([*command, "--cpu"] if options.cpu else command, scratch)
    found = json.loads((scratch / "tunic.json").read_text())
    assert (found["completed_trials"], found["errored_trials"]) == (options.trials, 0)
    return seconds, float(found["best_val_acc"])


def timed(command: list[str], scratch: Path) -> float:
    """Run a command with a Ray of its own, and return the seconds that it took."""
    log = scratch / "log"
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp") as ray, log.open("w") as output:
        environment = os.environ | {"RAY_ADDRESS": "local", "RAY_TMPDIR": ray, "TUNER_CACHE": str(scratch / "cache")}
        began = time.perf_counter()
        done = subprocess.run(command, env=environment, cwd=scratch, stdout=output, stderr=output)
        seconds = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{log.read_text()[-3000:]}")
    return seconds


def main() -> None:
    """Print seconds and values of each round, and the ratio of the times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tunic", type=Path, help="the program, in an environment of its own")
    parser.add_argument("--images", type=Path, help="a folder with train/, val/ and test/; none: digits are written")
    parser.add_argument("--model", default="resnet10t", help="a network of timm")
    for name, default in (("side", 32), ("trials", 6), ("epochs", 10), ("batch-size", 32), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--workers", type=int, default=0, help="DataLoader's processes for each trial of tunic")
    parser.add_argument("--cpu", action="store_true", help="tunic is told to use no GPU")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tunic-") as scratch:
        folder = options.images.absolute() if options.images else Path(scratch, "digits")
        if options.images is None:
            write_digits(folder, options.side)
        print(f"{options.model}, {options.trials} trials of {options.epochs} epochs, {os.cpu_count()} cores")
        ratios = []
        for seed in range(options.rounds):
            found = []
            for number, run in enumerate((run_tunic, run_ours)):
                below = Path(scratch, f"{seed}-{number}")
                below.mkdir()
                found.append(run(folder, below, seed, options))
            (their_seconds, theirs), (seconds, ours) = found
            ratios.append(their_seconds / seconds)
            print(
                f"  round {seed + 1}: tunic {their_seconds:6.1f} s, val_accuracy {theirs:.4f}"
                f"   tuner {seconds:6.1f} s, val_accuracy {ours:.4f}   ratio {ratios[-1]:.2f}",
                flush=True,
            )
        print(f"  tunic took {statistics.median(ratios):.2f} times as long (median)")


if __name__ == "__main__":
    main()
