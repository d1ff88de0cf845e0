"""Standings of trials under a stopping rule: the highest rung reached, and the place there."""

import copy
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from tuner.search.ranking import ranks

if TYPE_CHECKING:
    from tuner.search.learned import Learned

T = TypeVar("T")
MOST_TRIALS = 400
"""Trials that a proposal is drawn from, so that its cost stays the same in a long search."""
MOST_OTHERS = 100
"""Trials without a standing beside them: just begun, or not trainable."""
FIRST_LEARNED = 1_000_000_000
"""Number of the first trial that was learned from another study, above those of all own trials."""
GOOD_TRIALS = 25
"""Best trials that are always among them, as many as Optuna's TPE calls good."""


class Standing(NamedTuple):
    """The highest rung of a trial, and its value there.

    A higher value is better.
    """

    rung: int
    value: float


Stood = tuple[Standing, FrozenTrial]
"""A trial and its standing."""


def standing_of(trial: FrozenTrial, rungs: Sequence[int], sign: int) -> Standing | None:
    """Return a trial's standing, None if it has none.

    A trial before its first rung has none, nor one that cannot be trained.

    Args:
        trial: One of Optuna's trials.
        rungs: Epochs of the rungs, the lowest first.
        sign: 1 where a higher value is better, else -1.
    """
    if any(violation > 0 for violation in trial.constraints.values()):
        return None
    if trial.state == TrialState.COMPLETE:
        return Standing(len(rungs), sign * trial.values[0])
    for index in reversed(range(len(rungs))):
        value = trial.intermediate_values.get(rungs[index], math.nan)
        if math.isfinite(value):
            return Standing(index, sign * value)
    return None


def count_reported(study: Study, enough: int) -> int:
    """Count the trials that a sampler can learn from.

    These have reported, or can be told as the worst. Counting ends at `enough`.
    """
    count = 0
    for trial in study.get_trials(deepcopy=False):
        if trial.intermediate_values or trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
            count += 1
        if count == enough:
            break
    return count


def split_trials(study: Study, rungs: Sequence[int]) -> tuple[list[Stood], list[FrozenTrial]]:
    """Return the trials with a standing, and the others.

    The others run, or cannot be trained.
    """
    sign = sign_of(study)
    standings: list[Stood] = []
    others = []
    for trial in study.get_trials(deepcopy=False):
        if trial.state in (TrialState.FAIL, TrialState.WAITING):
            continue
        if standing := standing_of(trial, rungs, sign):
            standings.append((standing, trial))
        elif trial.params:
            others.append(trial)
    return standings, others


def order_by_rungs(study: Study, rungs: Sequence[int], learned: "Learned | None" = None) -> list[FrozenTrial]:
    """Return the trials that a proposal learns from, with their standings.

    Trials that wait or run count by what they have reached. Every trial with a standing becomes
    a PRUNED one whose only step is its rung, because Optuna orders those by step and value. Learned
    trials stand first, because Optuna weighs the latest most.
    """
    standings, others = split_trials(study, rungs)
    sign = sign_of(study)
    if learned:
        standings = _merge(learned.joined(standings, rungs))
    chosen = [_shown(trial, one, sign) for one, trial in choose(standings, MOST_TRIALS)]
    return sorted(
        [*chosen, *spread(others, MOST_OTHERS)], key=lambda trial: (trial.number < FIRST_LEARNED, trial.number)
    )


def _merge(groups: list[list[Stood]]) -> list[Stood]:
    """Join groups of trials.

    In several groups each value becomes its place at the rung, because values of different groups
    cannot be compared.
    """
    return [pair for group in (groups if len(groups) == 1 else map(_as_shares, groups)) for pair in group]


def _as_shares(group: list[Stood]) -> list[Stood]:
    """Replace each value by its place at the rung.

    Places are between 0 and 1, and a higher place is better.
    """
    shares: dict[int, float] = {}
    for rung in {standing.rung for standing, _ in group}:
        there = [(standing.value, trial.number) for standing, trial in group if standing.rung == rung]
        places = (ranks([value for value, _ in there]) - 0.5) / len(there)
        shares |= dict(zip((number for _, number in there), map(float, places), strict=True))
    return [(Standing(standing.rung, shares[trial.number]), trial) for standing, trial in group]


def sign_of(study: Study) -> int:
    """Return 1 where a higher value is better, else -1."""
    return 1 if study.direction == StudyDirection.MAXIMIZE else -1


def choose(standings: list[Stood], most: int) -> list[Stood]:
    """Keep the best trials and some of the others.

    The others are evenly spread over the search.
    """
    if len(standings) <= most:
        return standings
    ranked = sorted(standings, key=lambda pair: (pair[0], -pair[1].number), reverse=True)
    rest = sorted(ranked[GOOD_TRIALS:], key=lambda pair: pair[1].number)
    return ranked[:GOOD_TRIALS] + spread(rest, most - GOOD_TRIALS)


def spread(given: list[T], most: int) -> list[T]:
    """Return at most `most` items, evenly spread."""
    return [given[index * len(given) // most] for index in range(most)] if len(given) > most else given


def _shown(trial: FrozenTrial, standing: Standing, sign: int) -> FrozenTrial:
    shown = copy.copy(trial)
    shown.state = TrialState.PRUNED
    shown.intermediate_values = {standing.rung: sign * standing.value}
    return shown
