"""Parts of Optuna's samplers that are used here although they are not public.

The tests of this module fail when an upgrade of Optuna or cmaes takes one of these parts away.
"""

import io
import json
import pickle
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import QMCSampler, RandomSampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from tuner.errors import StudyError

_ENQUEUED = "fixed_params"
"""Optuna's key for the parameters of an enqueued trial, which the tables hold already."""
_CMA_STATE = "cma:optimizer"
"""Prefix of Optuna's keys for the pickled state of CMA-ES, which is cut into pieces."""


def dump_attributes(attributes: Mapping[str, Any]) -> str:
    """Write a sampler's data about a trial as JSON, for the tables."""
    return json.dumps({key: value for key, value in attributes.items() if key != _ENQUEUED})


def load_attributes(text: Any) -> dict[str, Any]:
    """Read what a sampler kept about a trial.

    A null cell holds nothing.

    Raises:
        StudyError: The state of CMA-ES would run foreign code.
    """
    attributes: dict[str, Any] = json.loads(text) if isinstance(text, str) and text != "{}" else {}
    pieces = sum(key.startswith(_CMA_STATE) for key in attributes)
    if state := "".join(attributes[f"{_CMA_STATE}:{piece}"] for piece in range(pieces)):
        _CmaState(io.BytesIO(bytes.fromhex(state))).load()
    return attributes


class _CmaState(pickle.Unpickler):
    """An unpickler that refuses everything but the state of CMA-ES.

    Optuna unpickles that state, and a study may come from anywhere.
    """

    _PARTS = frozenset(
        {
            ("cmaes._cma", "CMA"),
            ("numpy", "dtype"),
            ("numpy", "ndarray"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "scalar"),
            ("numpy._core.numeric", "_frombuffer"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._PARTS:
            raise StudyError(f"trials.sampler_attrs: found {module}.{name}, which is no part of the state of CMA-ES")
        return super().find_class(module, name)


class BulkStorage(InMemoryStorage):
    """Optuna's storage in memory, which takes many trials at once."""

    def add_trials(self, study_id: int, trials: Iterable[FrozenTrial]) -> None:
        """Add trials as they are.

        `Study.add_trial` copies each trial deeply and checks it twice, which takes longer than
        reading it. The caller must not change the trials afterwards.
        """
        with self._lock:
            added = self._studies[study_id].trials
            for trial in trials:
                self._max_trial_id += 1
                trial.number, trial._trial_id = len(added), self._max_trial_id
                self._trial_id_to_study_id_and_number[trial._trial_id] = study_id, trial.number
                added.append(trial)
                self._update_cache(trial._trial_id, study_id)

    def replace_trials(self, study_id: int, trials: Iterable[FrozenTrial]) -> None:
        """Replace all trials of the only study.

        A trial that keeps its place keeps its id.
        """
        with self._lock:
            self._studies[study_id].trials = []
            self._studies[study_id].best_trial_id = None
            self._max_trial_id = -1
            self._trial_id_to_study_id_and_number.clear()
            self.add_trials(study_id, trials)

    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        """Set a parameter, and share an equal distribution of earlier trials.

        Each proposal makes new distributions, which would take a third of a trial's memory.
        """
        study_id, _ = self._trial_id_to_study_id_and_number[trial_id]
        known = self._studies[study_id].param_distribution.get(param_name)
        shared = known if known is not None and known == distribution else distribution
        super().set_trial_param(trial_id, param_name, param_value_internal, shared)


class OrderedTpeSampler(TPESampler):
    """Optuna's TPE over other trials than a study's own, for one proposal.

    Args:
        seed: Seed of the proposal.
        order: Returns the trials that TPE is to see, by number. PRUNED trials are ordered by
            their last step and the value there.
    """

    def __init__(self, seed: int, order: Callable[[Study], list[FrozenTrial]]) -> None:
        silence_experimental()
        super().__init__(multivariate=True, group=True, seed=seed, n_startup_trials=0)
        self._order = order
        self._seen: Study | None = None

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the parameters that the trials have drawn, in groups."""
        return super().infer_relative_search_space(self._view(study), trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw these parameters together."""
        return super().sample_relative(self._view(study), trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draw a parameter that no trial has drawn."""
        return super().sample_independent(self._view(study), trial, param_name, param_distribution)

    def _view(self, study: Study) -> Study:
        if self._seen is None:
            self._seen = cast(Study, _StudyView(study, self._order(study)))
        return self._seen


class _StudyView:
    """A study with other trials."""

    def __init__(self, study: Study, trials: list[FrozenTrial]) -> None:
        self._study = study
        self._trials = trials

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(
        self,
        deepcopy: bool = True,  # noqa: ARG002
        states: Sequence[TrialState] | None = None,
        use_cache: bool = False,  # noqa: ARG002
    ) -> list[FrozenTrial]:
        return [trial for trial in self._trials if states is None or trial.state in states]


class SobolSampler(QMCSampler):
    """Optuna's scrambled Sobol sequence, of which any point can be drawn.

    The next point does not depend on earlier calls.

    Args:
        seed: Seed of the scrambling, the same for the whole sequence.
        index: Index of the point, from 0.
        space: Every parameter of the sequence, active or not.
    """

    def __init__(self, seed: int, index: int, space: Mapping[str, BaseDistribution]) -> None:
        silence_experimental()
        alone = RandomSampler(seed=seed)
        super().__init__(scramble=True, seed=seed, independent_sampler=alone, warn_independent_sampling=False)
        self._index = index
        self._space = {name: one for name, one in space.items() if not one.single()}

    def infer_relative_search_space(
        self,
        study: Study,  # noqa: ARG002
        trial: FrozenTrial,  # noqa: ARG002
    ) -> dict[str, BaseDistribution]:
        """Return every parameter."""
        return self._space

    def _find_sample_id(
        self,
        study: Study,  # noqa: ARG002
        search_space: dict[str, BaseDistribution],  # noqa: ARG002
    ) -> int:
        return self._index


def silence_experimental() -> None:
    """Silence warnings about parts of samplers that Optuna may still change."""
    for ignored in ("Argument ``(multivariate|group)``", "(QMC|NSGAIII)Sampler is experimental"):
        warnings.filterwarnings("ignore", message=ignored, category=ExperimentalWarning)
