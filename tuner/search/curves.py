"""A sampler that learns from curves: what trials reached at their rungs tells of their end."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from scipy.special import ndtr, ndtri  # not scipy.stats, because that takes most of a second
from threadpoolctl import threadpool_limits

from tuner.config.space import Space
from tuner.search.encoding import Encoding
from tuner.search.gaussian_process import Array, CurveProcess, Points
from tuner.search.learned import Learned
from tuner.search.optuna_study import drawn_distributions
from tuner.search.ranking import ranks
from tuner.search.standings import FIRST_LEARNED, MOST_OTHERS, choose, sign_of, split_trials, spread

MOST_TRIALS, FIT_TRIALS = 120, 60
"""Trials that a proposal is computed from, and among them those that fit the process."""
AT_RANDOM, AROUND = 300, 40
"""Candidates drawn at random, and around each of the best trials."""
BEST = 8
"""Best trials around which candidates are drawn."""
TOO_NEAR = 0.02
"""Distance in every feature below which a candidate repeats a trial."""
RANDOM_SHARE = 0.1
"""Share of proposals at random, because early epochs may tell nothing of late ones."""


@dataclass(frozen=True)
class Measured:
    """Points of trials, and their scores."""

    points: Points
    scores: Array

    def joined(self, other: "Measured") -> "Measured":
        """Return the measurements of both."""
        return Measured(self.points.joined(other.points), np.concatenate([self.scores, other.scores]))


@dataclass(frozen=True)
class Seen:
    """Trials that a proposal is computed from.

    Attributes:
        trials: Own trials and those of the same task that have reached a rung.
        elsewhere: Trials of each other task.
        refused: Trials that cannot be trained.
        running: Trials that have not reached a rung.
        fitted: Numbers of the trials that fit the process.
    """

    trials: list[FrozenTrial]
    elsewhere: list[list[FrozenTrial]]
    refused: list[FrozenTrial]
    running: list[FrozenTrial]
    fitted: list[int]

    @property
    def everyone(self) -> list[FrozenTrial]:
        """Trials that have reached a rung, of this task and of others."""
        return [*self.trials, *(trial for group in self.elsewhere for trial in group)]


class CurvesSampler(BaseSampler):
    """A Gaussian process over configuration and epoch, for one proposal.

    Args:
        space: The parameters that are searched.
        seed: Seed of the proposal.
        rungs: Epochs of the rungs, the lowest first.
        epochs: Epochs of the longest trial.
        at_random: Share of proposals at random.
        learned: Trials of earlier studies.
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        rungs: Sequence[int],
        epochs: int,
        at_random: float = RANDOM_SHARE,
        learned: Learned | None = None,
    ) -> None:
        self._encoding = Encoding(space)
        self._space = space
        self._draw = np.random.default_rng(seed)
        self._rungs, self._epochs = rungs, epochs
        self._at_random = at_random
        self._learned = learned
        self._independent = RandomSampler(seed=seed)

    def infer_relative_search_space(
        self,
        study: Study,  # noqa: ARG002
        trial: FrozenTrial,  # noqa: ARG002
    ) -> dict[str, BaseDistribution]:
        """Return every parameter, active or not."""
        return drawn_distributions(self._space)

    def sample_relative(
        self,
        study: Study,
        trial: FrozenTrial,  # noqa: ARG002
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        """Return the candidate from which most improvement is expected."""
        if not search_space:
            return {}
        if self._draw.random() < self._at_random:
            return self._encoding.parameters(self._encoding.draw(1, self._draw)[0])
        with threadpool_limits(1):  # because waiting threads make small matrices slow
            return self._encoding.parameters(self._propose(study))

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draw at random, which is asked for constants only."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def _propose(self, study: Study) -> Array:
        seen, sign = self._see(study), sign_of(study)
        measured = self._measure(seen.trials, seen.refused, sign)
        for group in seen.elsewhere:  # whose values are compared among themselves only
            measured = measured.joined(self._measure(group, [], sign))
        process = CurveProcess(self._encoding.groups)
        is_fitted = np.isin(measured.points.trials, seen.fitted)
        process.fit(measured.points.chosen(is_fitted), measured.scores[is_fitted])
        process.condition(measured.points, measured.scores)
        ends = self._ends(seen.everyone)
        expected, _ = process.predict(ends)
        best = float((expected[: len(seen.trials)] if seen.trials else expected).max())
        pending = self._ends(seen.running)
        is_own = ends.trials < FIRST_LEARNED
        is_open = np.array([trial.state != TrialState.COMPLETE for trial in seen.everyone])
        _assume(process, measured, ends.chosen(is_own & is_open).joined(pending))
        candidates = self._candidates([seen.everyone[index] for index in np.argsort(-expected)[:BEST]])
        features = self._encoding.features(candidates)
        gain = expected_improvement(*process.predict(_at_end(features)), best)
        known = np.concatenate([ends.features[is_own], pending.features])
        apart = np.abs(features[:, None, :] - known[None, :, :]).max(axis=2).min(axis=1, initial=math.inf)
        chosen: Array = candidates[int(np.argmax(np.where(apart < TOO_NEAR, -1.0, gain)))]
        return chosen

    def _see(self, study: Study) -> "Seen":
        """Return the trials that a proposal is computed from."""
        standings, others = split_trials(study, self._rungs)
        comparable, *elsewhere = self._learned.joined(standings, self._rungs) if self._learned else [standings]
        groups = [[trial for _, trial in group] for group in elsewhere]
        refused = [trial for trial in others if trial.state == TrialState.PRUNED]
        running = [trial for trial in others if trial.state == TrialState.RUNNING]
        few = [trial.number for _, trial in choose(comparable, FIT_TRIALS)]
        return Seen(
            trials=[trial for _, trial in choose(comparable, MOST_TRIALS)],
            elsewhere=groups,
            refused=spread(refused, MOST_OTHERS),
            running=running[-MOST_OTHERS:],
            fitted=[*few, *(trial.number for group in groups for trial in group)],
        )

    def _candidates(self, best: Sequence[FrozenTrial]) -> Array:
        """Return the units of configurations at random and around the best."""
        encoding, draw = self._encoding, self._draw
        units = np.array([encoding.units(trial.params) for trial in best])
        near = encoding.change(np.repeat(units, AROUND, axis=0), draw)
        return np.concatenate([encoding.draw(AT_RANDOM, draw), near])

    def _measure(self, trials: Sequence[FrozenTrial], refused: Sequence[FrozenTrial], sign: int) -> Measured:
        """Return the values that trials reached, as scores.

        Trials that cannot be trained have the worst score.
        """
        rows = [(t, share, value) for t in trials for share, value in self._rows(t, sign)]
        rows += [(trial, 1.0, -math.inf) for trial in refused]
        points = Points(
            self._features([trial for trial, _, _ in rows]),
            np.array([share for _, share, _ in rows]),
            np.array([trial.number for trial, _, _ in rows]),
        )
        return Measured(points, normal_scores(np.array([value for _, _, value in rows])))

    def _rows(self, trial: FrozenTrial, sign: int) -> list[tuple[float, float]]:
        """Return a trial's value at each rung that it has reached.

        Each has its share of the epochs, on a logarithmic scale. The end is a rung here.
        """
        planned = int(trial.params.get("epochs", self._epochs))
        reported = trial.intermediate_values
        rows = [(rung, sign * reported[rung]) for rung in self._rungs if rung in reported]
        rows = [(rung, value) for rung, value in rows if rung < planned and math.isfinite(value)]
        if trial.state == TrialState.COMPLETE:
            rows.append((planned, sign * trial.values[0]))
        scale = max(math.log(self._epochs), 1.0)
        return [(1 + math.log(epoch / planned) / scale, value) for epoch, value in rows]

    def _ends(self, trials: Sequence[FrozenTrial]) -> Points:
        numbers = np.array([trial.number for trial in trials], dtype=int)
        return _at_end(self._features(trials), numbers)

    def _features(self, trials: Sequence[FrozenTrial]) -> Array:
        units = [self._encoding.units(trial.params) for trial in trials]
        return self._encoding.features(np.array(units).reshape(len(units), self._encoding.width))


def _assume(process: CurveProcess, measured: Measured, unknown: Points) -> None:
    """Take unknown ends at their posterior mean.

    This keeps the sampler from repeating a trial.
    """
    if len(unknown):
        mean, _ = process.predict(unknown)
        scores = np.concatenate([measured.scores, mean])
        process.condition(measured.points.joined(unknown), scores)


def _at_end(features: Array, trials: Any = None) -> Points:
    """Return points at the last epoch.

    They are of new trials unless their numbers are given.
    """
    numbers = np.full(len(features), -1) if trials is None else trials
    return Points(features, np.ones(len(features)), numbers)


def normal_scores(values: Array) -> Array:
    """Return the normal quantile of each value's rank."""
    return np.asarray(ndtri((ranks(values) - 0.5) / len(values)))


def expected_improvement(mean: Array, deviation: Array, best: float) -> Array:
    """Return how far each candidate is expected to exceed the best."""
    scaled = (mean - best) / deviation
    density = np.exp(-(scaled**2) / 2) / math.sqrt(2 * math.pi)
    return np.asarray((mean - best) * ndtr(scaled) + deviation * density)
