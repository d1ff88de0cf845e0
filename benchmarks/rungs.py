"""Print what stopping rules cost with many trials: a resume's refill, then verdicts one by one.

python benchmarks/rungs.py [--trials 100000]
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from ray.tune.experiment import Trial

sys.path.insert(0, str(Path(__file__).parents[1]))

from tuner.config.study import StudyConfig, parse_spec
from tuner.search.schedulers import make_scheduler

EPOCHS = 27
VERDICTS = 1000


def study(rule: str) -> StudyConfig:
    """Return a study of 27 epochs with the rule's defaults."""
    return parse_spec(
        {
            "study": "rungs",
            "training": {"architecture": "vazquez_base", "epochs": EPOCHS},
            "space": {"learning_rate": {"float": [1e-4, 1e-1]}},
            "stopping": rule,
        }
    )


def measure(rule: str, trials: int) -> None:
    """Refill a scheduler with trials of one, three or nine epochs and let new ones report."""
    draw = np.random.default_rng(0)
    lengths = draw.choice([1, 3, 9], size=trials, p=[0.65, 0.25, 0.1]).tolist()
    reported = [dict(enumerate(draw.normal(size=n).tolist(), start=1)) for n in lengths]
    decisions: list[dict[str, Any]] = []
    scheduler = make_scheduler(study(rule), decisions.append)

    began = time.perf_counter()
    for number, values in enumerate(reported):
        scheduler.replay(number, values)
    refill = time.perf_counter() - began

    seconds: list[float] = []
    for number in range(trials, trials + VERDICTS):
        trial = Trial("new", config={"number": number, "purpose": "search"}, stub=True)
        result = {"epoch": 1, "val_accuracy": float(draw.normal())}
        scheduler.on_trial_add(None, trial)
        began = time.perf_counter()
        scheduler.on_trial_result(None, trial, result)
        seconds.append(time.perf_counter() - began)
    first, *others = (1000 * second for second in seconds)
    print(
        f"{rule}: {trials} trials refilled in {refill:.2f} s; verdicts "
        f"{np.median(others):.3f} ms (99 %: {np.quantile(others, 0.99):.3f}), the first, "
        f"which sorts, {first:.1f} ms"
    )


def main() -> None:
    """Measure each rule in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100_000)
    trials = parser.parse_args().trials
    for rule in "asha", "hyperband", "median":
        measure(rule, trials)


if __name__ == "__main__":
    main()
