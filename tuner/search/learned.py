"""Trials of earlier studies, from which a search learns.

Trials of the same task (images, split and constants) count like the study's own. Those of another
task are compared only among themselves. They count less and less as own trials report, and as far as
they tell the order of these.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from tuner.config.parameters import Constant
from tuner.config.space import Space
from tuner.config.study import StudyConfig
from tuner.config.try_first import contains
from tuner.config.values import Value
from tuner.search.defaults import nearest_value
from tuner.search.encoding import Array, Encoding
from tuner.search.optuna_study import distributions_of, to_optuna
from tuner.search.ranking import ranks
from tuner.search.standings import FIRST_LEARNED, Stood, spread, standing_of

FADED = 48
"""Own trials after which a study of another task tells nothing more."""
FEWEST = 8
"""Fewest learned trials that guide a proposal, and fewest own trials that judge a study."""
NEIGHBOURS = 3
"""Learned trials that are asked for the place of an own trial."""
TRIED = 3
"""Best learned configurations that are proposed at the beginning, at most."""


@dataclass(frozen=True)
class LearnedTrial:
    """A trial of an earlier study, in this study's search space.

    Attributes:
        parameters: Its parameters.
        values: First objective by epoch.
        is_complete: True if it ran to the end that this study plans.
    """

    parameters: dict[str, Value]
    values: dict[int, float]
    is_complete: bool


@dataclass(frozen=True)
class LearnedStudy:
    """Trials of an earlier study, and how they count here.

    Attributes:
        study: Its name or path, as the study file has it.
        is_same_task: True if it trained on the same images with the same constants.
        trials: Trials that fit, the best first. Of very many some are kept.
        read: Trials that it has.
        left_out: Trials that do not fit, by the parameter at fault.
        ignored: Parameters that it searches, and this study does not.
    """

    study: str
    is_same_task: bool
    trials: tuple[LearnedTrial, ...]
    read: int
    left_out: dict[str, int] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, from which `from_dict` makes an equal study."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "LearnedStudy":
        """Read a study from plain values, whose epochs JSON has made text."""
        trials = tuple(
            LearnedTrial(
                one["parameters"], {int(epoch): value for epoch, value in one["values"].items()}, one["is_complete"]
            )
            for one in raw["trials"]
        )
        return cls(**{**raw, "trials": trials, "ignored": tuple(raw["ignored"])})

    def __str__(self) -> str:
        task = "same task" if self.is_same_task else "another task"
        left_out = "".join(f", {count} left out by {name}" for name, count in self.left_out.items())
        ignored = f"; not searched here: {', '.join(self.ignored)}" if self.ignored else ""
        fit = self.read - sum(self.left_out.values())
        return f"{self.study} ({task}): {fit} of {self.read} trials fit{left_out}{ignored}"


def fit_parameters(space: Space, drawn: Mapping[str, Value], constants: Mapping[str, Value]) -> dict[str, Value] | str:
    """Fit an earlier trial's parameters to another search space.

    Args:
        space: The space that is searched now.
        drawn: The trial's parameters.
        constants: The values that all trials of its study had.

    Returns:
        The parameters, with the nearest epochs of the space. Or the name of the first parameter
        that does not fit.
    """
    known = {**constants, **drawn}
    fitting: dict[str, Value] = {}
    for name, parameter in space.ordered():
        if not parameter.active(fitting):
            continue
        if isinstance(parameter, Constant):
            fitting[name] = parameter.value
            continue
        if name == "epochs" and name in known:  # because a curve of another length tells as much
            fitting[name] = nearest_value(parameter, known[name])
        elif name not in known or not contains(parameter, known[name]):
            return name
        else:
            fitting[name] = parameter.canonical(known[name])
    return fitting


class Learned:
    """The learned trials, in Optuna's form.

    Args:
        spec: The study that learns.
        studies: What it learns from.
    """

    def __init__(self, spec: StudyConfig, studies: Sequence[LearnedStudy]) -> None:
        self._sign = spec.objective[0].sign
        self._studies = studies
        self._encoding = Encoding(spec.space)
        drawn = distributions_of(spec.space, [*spec.space.root])
        number = FIRST_LEARNED
        self._trials: list[list[FrozenTrial]] = []
        for study in studies:
            self._trials.append([_freeze(spec, one, drawn, number + index) for index, one in enumerate(study.trials)])
            number += len(study.trials)

    @property
    def same(self) -> list[FrozenTrial]:
        """Trials of the same task."""
        pairs = zip(self._studies, self._trials, strict=True)
        return [trial for study, trials in pairs if study.is_same_task for trial in trials]

    def others(self, own: list[Stood], rungs: Sequence[int]) -> list[list[Stood]]:
        """Return trials of other tasks with their standings, grouped by study.

        Args:
            own: The study's own trials that have reached a rung.
            rungs: Epochs of the rungs, the lowest first.
        """
        pairs = [pair for pair in zip(self._studies, self._trials, strict=True) if not pair[0].is_same_task]
        most = max(0, FADED - len(own)) / max(1, len(pairs))
        groups = [self._stood(trials, rungs) for _, trials in pairs] if most else []
        ranked = (sorted(group, key=lambda pair: pair[0], reverse=True) for group in groups if group)
        kept = (spread(group, round(most * self._agreement(group, own))) for group in ranked)
        return [group for group in kept if group]

    def _agreement(self, learned: list[Stood], own: list[Stood]) -> float:
        """Return how well learned trials predict the order of own trials.

        The result, from 0 to 1, is the rank correlation of own places with those of the nearest
        learned trials. It is 1 while there are too few own trials.
        """
        if len(own) < FEWEST:
            return 1.0
        known, asked = (self._features([trial for _, trial in group]) for group in (learned, own))
        apart = ((asked[:, None, :] - known[None, :, :]) ** 2).sum(axis=2)
        nearest = np.argsort(apart, axis=1, kind="stable")[:, :NEIGHBOURS]
        told = _places(learned)[nearest].mean(axis=1)
        places = ranks(told)
        if len(set(places)) < 2:
            return 0.0
        return max(0.0, float(np.corrcoef(places, _places(own))[0, 1]))

    def _features(self, trials: Sequence[FrozenTrial]) -> Array:
        return self._encoding.features(np.array([self._encoding.units(trial.params) for trial in trials]))

    def _stood(self, trials: Iterable[FrozenTrial], rungs: Sequence[int]) -> list[Stood]:
        standings = ((standing_of(trial, rungs, self._sign), trial) for trial in trials)
        return [(standing, trial) for standing, trial in standings if standing]

    def guides(self, index: int) -> bool:
        """Return True if the learned trials guide an early proposal.

        Early proposals are those before own trials have reported. Trials of other tasks
        guide every second proposal only, because they can mislead.
        """
        return len(self) >= FEWEST and (bool(self.same) or index % 2 == 0)

    def joined(self, own: list[Stood], rungs: Sequence[int]) -> list[list[Stood]]:
        """Return groups of trials that can be compared with each other.

        Own trials and those of the same task are the first group.
        """
        return [own + self._stood(self.same, rungs), *self.others(own, rungs)]

    @cached_property
    def best(self) -> list[dict[str, Value]]:
        """The best configurations, each study's in turn.

        Of a study of the same task it is one, because several good ones take most of the first epochs.
        """
        ranked = [
            sorted(study.trials, key=lambda one: _reached(one, self._sign), reverse=True)[
                : 1 if study.is_same_task else TRIED
            ]
            for study in self._studies
        ]
        turns = (trials[place] for place in range(TRIED) for trials in ranked if place < len(trials))
        unlike: list[dict[str, Value]] = []
        for trial in turns:
            if trial.parameters not in unlike:
                unlike.append(trial.parameters)
        return unlike[:TRIED]

    def __len__(self) -> int:
        return sum(map(len, self._trials))


def _places(group: list[Stood]) -> Array:
    """Return the place of each trial by its standing, the worst first."""
    order = sorted({standing for standing, _ in group})
    places = {standing: place for place, standing in enumerate(order)}
    return ranks([places[standing] for standing, _ in group])


def _reached(trial: LearnedTrial, sign: int) -> tuple[int, float]:
    """Return how far a trial came, and its value there."""
    last = max(trial.values)
    return last, sign * trial.values[last]


def _freeze(spec: StudyConfig, trial: LearnedTrial, drawn: Mapping[str, BaseDistribution], number: int) -> FrozenTrial:
    """Convert a learned trial to a trial of Optuna.

    Optuna's checks are left out, because the space has made them.
    """
    names = [name for name in trial.parameters if name in drawn]
    now = datetime.now()
    return FrozenTrial(
        number=number,
        trial_id=number,
        state=TrialState.COMPLETE if trial.is_complete else TrialState.PRUNED,
        value=None,
        values=[trial.values[max(trial.values)]] if trial.is_complete else None,
        params={name: to_optuna(spec.space[name], trial.parameters[name]) for name in names},
        distributions={name: drawn[name] for name in names},
        intermediate_values=trial.values,
        user_attrs={},
        system_attrs={},
        datetime_start=now,
        datetime_complete=now,
    )
