"""Sums and time of the epoch that is being trained."""

import time
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from tuner.results.schema import StepResult


class CurrentEpoch:
    """The epoch so far: its losses, correct predictions, step log and time.

    Sums stay on the device, so that no step waits for it.

    Attributes:
        step: Completed steps.
        lines: The step log.
        log_seconds: Seconds that the step log took.
    """

    def __init__(self, device: torch.device) -> None:
        self.step = 0
        self.lines: list[StepResult] = []
        self.log_seconds = 0.0
        self._loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        self._correct = torch.zeros((), dtype=torch.int64, device=device)
        self._line_loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        self._earlier_seconds = 0.0  # trained before a checkpoint
        self._started = 0.0

    def start_clock(self) -> None:
        """Count time as training from now on."""
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds spent training."""
        return self._earlier_seconds + (time.perf_counter() - self._started if self._started else 0.0)

    def leave_out(self, seconds: float) -> None:
        """Leave seconds out of the training time."""
        if self._started:
            self._started += seconds

    def add(self, loss: Tensor, correct: Tensor, images: int) -> None:
        """Count a step by its mean loss and its correct predictions."""
        self._loss_sum += loss * images
        self._correct += correct
        self.step += 1

    def add_to_line(self, loss: Tensor) -> None:
        """Add a step's mean loss to the next line of the step log."""
        self._line_loss_sum += loss

    @property
    def loss_sum(self) -> float:
        """Sum of the losses of all images so far."""
        return self._loss_sum.item()

    @property
    def correct(self) -> int:
        """Correct predictions so far."""
        return int(self._correct.item())

    @property
    def line_loss_sum(self) -> float:
        """Sum of the mean losses of the steps since the last line of the log."""
        return self._line_loss_sum.item()

    def log(self, line: StepResult) -> None:
        """Add a line to the step log."""
        self.lines.append(line)
        self._line_loss_sum.zero_()

    def begin_next(self) -> None:
        """Begin the next epoch.

        The sum for the next line stays, because its steps may be of both epochs.
        """
        self.step, self.lines, self.log_seconds = 0, [], 0.0
        self._loss_sum.zero_()
        self._correct.zero_()
        self._earlier_seconds = self._started = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return all that `load_state_dict` needs, as numbers and lists."""
        return {
            "step": self.step,
            "loss_sum": self.loss_sum,
            "correct": self.correct,
            "lines": [asdict(line) for line in self.lines],
            "line_loss_sum": self.line_loss_sum,
            "train_seconds": self.seconds,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`."""
        self.step = state["step"]
        self._loss_sum.fill_(state["loss_sum"])
        self._correct.fill_(state["correct"])
        self.lines = [StepResult(**line) for line in state["lines"]]
        self._line_loss_sum.fill_(state["line_loss_sum"])
        self._earlier_seconds, self._started = state["train_seconds"], 0.0
