"""The Ray trainable: a thin layer over `run_trial`, which the driver imports without torch."""

import faulthandler
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray import tune

from tuner.cluster.preflight import other_versions, versions
from tuner.config.study import StudyConfig
from tuner.data.weights import hash_all, search_below
from tuner.errors import StudyError, TunerError
from tuner.results.identity import check_code, refuse_edited
from tuner.study.failures import kind_of_error


@dataclass(frozen=True)
class TrialContext:
    """Settings that the trials of a study share.

    Args:
        spec: The study.
        folder: Its folder.
        dataset: The data set in the cache of the driver's machine.
        device: The device that trains: cpu | cuda, which is the GPU that Ray gives a trial.
        data: Folder in which a machine without that cache searches data sets first.
        gpu: Share of a GPU that each trial has, which limits its memory.
        capability: CUDA compute capability that decides `precision: auto` for the whole study.
        directory: The driver's working directory, at which relative paths of weights start.
        versions: The driver's versions, which a node that joins later must have, too.
    """

    spec: StudyConfig
    folder: str
    dataset: Path
    device: str
    data: Path | None = None
    gpu: float = 0.0
    capability: tuple[int, ...] | None = None
    directory: Path | None = None
    versions: Mapping[str, str] = field(default_factory=dict)


class TrialTrainable(tune.Trainable):
    """A worker that runs one trial after another, an epoch per step.

    The configuration from the searcher has `number`, `parameters`, `seed` and `purpose`. Reports
    are those of `tuner.training.run_trial`. A trial that cannot be trained ends with a report that
    has `error` and `error_kind`. Any other failure raises, and ends the worker.
    """

    def setup(self, config: dict[str, Any], context: TrialContext) -> None:  # type: ignore[override]
        """Prepare the worker.

        Work that may fail waits for the first step, where it counts as the trial's.
        """
        self._context = context
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Switch to the next trial without a new process."""
        self.config = new_config
        self._reports = self._attempt()
        return True

    def _attempt(self) -> Iterator[dict[str, Any]]:
        from tuner.training.run_trial import run_trial

        context, config = self._context, self.config
        if context.versions and (problems := other_versions(versions(context.spec), context.versions)):
            raise StudyError(f"this node {problems[0]}")
        for name in context.spec.architectures:
            check_code(context.folder, name)
        search_below(context.directory)
        if context.spec.weights:
            refuse_edited(context.folder, hash_all(context.spec.weights, context.data))
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
        """Train an epoch and report it.

        The worker lives on after a trial whose hyperparameters are at fault.
        """
        try:
            return next(self._reports)
        except TunerError as error:
            kind = kind_of_error(error)
            if kind not in ("diverged", "configuration"):
                raise
            return {"error": str(error), "error_kind": kind, "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save nothing for Ray, because trials write their own checkpoints."""

    def cleanup(self) -> None:
        """Stop the watchdog before the process ends."""
        faulthandler.cancel_dump_traceback_later()
