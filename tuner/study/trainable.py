"""The Ray trainable: a thin skin over `run_trial`, so thin that the driver can import it without torch."""

import faulthandler
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune

from tuner.config.study import StudyConfig
from tuner.errors import TunerError
from tuner.results.identity import check_code


@dataclass(frozen=True)
class TrialContext:
    """What the trials of a study have in common.

    Args:
        spec: The study.
        folder: Its folder.
        dataset: The data set as the driver's cache holds it, see `tuner.data.Dataset.open`.
        device: Where trials are trained: cpu | cuda, the GPU that Ray gives them.
        data: Where data sets are looked for first on a machine without that cache; None: as `tuner.data.load` does.
        gpu: Share of a GPU that each trial has, which limits its memory.
        capability: CUDA compute capability that decides `precision: auto` for the whole study.
    """

    spec: StudyConfig
    folder: str
    dataset: Path
    device: str
    data: Path | None = None
    gpu: float = 0.0
    capability: tuple[int, ...] | None = None


class TrialTrainable(tune.Trainable):
    """One trial after another in one worker process; each `step` is an epoch.

    The configuration from the searcher has `number`, `parameters`, `seed` and `purpose`. Reports are those of
    `tuner.training.run_trial.attempt`; a trial that cannot be trained ends with a report that has `error`.
    """

    def setup(self, config: dict[str, Any], context: TrialContext) -> None:  # type: ignore[override]
        """Make the worker ready; everything that may fail waits for the first step, where Ray tries again."""
        self._context = context
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Turn to the next trial without a new process."""
        self.config = new_config
        self._reports = self._attempt()
        return True

    def _attempt(self) -> Iterator[dict[str, Any]]:
        from tuner.training.run_trial import run_trial

        context, config = self._context, self.config
        for name in context.spec.architectures:
            check_code(context.folder, name)
        yield from run_trial(
            context.spec,
            context.folder,
            context.dataset,
            number=config["number"],
            parameters=config["parameters"],
            seed=config["seed"],
            device=context.device,
            data=context.data,
            gpu=context.gpu,
            capability=context.capability,
        )

    def step(self) -> dict[str, Any]:
        """Train an epoch and report it; a trial that cannot be trained ends here and the worker lives on."""
        try:
            return next(self._reports)
        except TunerError as error:
            return {"error": str(error), "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing for Ray: checkpoints are written when they are due, and are found by the trial's number."""

    def cleanup(self) -> None:
        """Let the worker go."""
        faulthandler.cancel_dump_traceback_later()
