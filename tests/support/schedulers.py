"""A scheduler that trials report to, as Ray Tune has them do it."""

from typing import Any

import numpy as np
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from tuner.config.study import StudyConfig, parse_spec
from tuner.search.schedulers import Scheduler, make_scheduler

STOP, CONTINUE = TrialScheduler.STOP, TrialScheduler.CONTINUE
TUNE: Any = None
"""Tune's controller, which none of these schedulers reads."""
AS_RAY = {"type": "stop", "min_trials": 1}
"""Settings of ASHA under which no trial waits, as in Ray."""
METRICS = {"maximize": "val_accuracy", "minimize": "val_loss"}


def study(stopping: Any, epochs: int = 20, goal: str = "maximize", seed: int = 0) -> StudyConfig:
    """Return a study that compares its trials by a stopping rule."""
    return parse_spec(
        {
            "study": "compared",
            "training": {"architecture": "vazquez_base", "epochs": epochs},
            "space": {"learning_rate": {"float": [1e-4, 1e-1]}},
            "objective": {goal: METRICS[goal]},
            "search": {"seed": seed},
            "stopping": stopping,
        }
    )


class Played:
    """A scheduler with its trials, all their values and all decisions."""

    def __init__(self, spec: StudyConfig) -> None:
        self.decisions: list[dict[str, Any]] = []
        self.scheduler: Scheduler = make_scheduler(spec, self.decisions.append)
        self.metric = spec.objective[0].metric
        self.trials: dict[int, Trial] = {}
        self.values: dict[int, dict[int, float]] = {}

    def trial(self, number: int, purpose: str = "search") -> Trial:
        """Return a trial, which the scheduler has been told of."""
        if number not in self.trials:
            config = {"number": number, "purpose": purpose}
            self.trials[number] = Trial("played", config=config, stub=True)
            self.scheduler.on_trial_add(TUNE, self.trials[number])
        return self.trials[number]

    def report(self, number: int, epoch: int, value: float, purpose: str = "search") -> str:
        """Report an epoch before the last. A stopped trial ends as Tune ends it."""
        trial, result = self.trial(number, purpose), {"epoch": epoch, self.metric: value}
        self.values.setdefault(number, {})[epoch] = value
        verdict = self.scheduler.on_trial_result(TUNE, trial, result)
        if verdict == STOP:
            self.scheduler.on_trial_complete(TUNE, trial, result)
        return verdict

    def finish(self, number: int, epoch: int, value: float, purpose: str = "search") -> None:
        """Report the planned last epoch, at which Tune asks for no verdict."""
        self.values.setdefault(number, {})[epoch] = value
        result = {"epoch": epoch, self.metric: value}
        self.scheduler.on_trial_complete(TUNE, self.trial(number, purpose), result)

    def verdicts(self) -> list[tuple[int, float, int, str]]:
        """Return number, rung, epoch and verdict of each decision."""
        return [(d["number"], d["rung"], d["epoch"], d["verdict"]) for d in self.decisions]


def play(played: Played, seed: int, trials: int, longest: int) -> Played:
    """Run four trials side by side in a random order until all have ended."""
    draw = np.random.default_rng(seed)
    lengths = [longest, longest, max(1, longest // 2)]
    planned = {number: int(draw.choice(lengths)) for number in range(trials)}
    left = dict(planned)
    while live := [number for number in left if left[number]][:4]:
        number = int(draw.choice(live))
        left[number] -= 1
        epoch = planned[number] - left[number]
        value = round(float(draw.normal(number % 5 + epoch / 10, 1)), 2)
        if not left[number]:
            played.finish(number, epoch, value)
        elif played.report(number, epoch, value) == STOP:
            left[number] = 0
    return played
