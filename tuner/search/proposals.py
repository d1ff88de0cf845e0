"""Trials that are to run: read from their rows, or repeats of the best."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd

from tuner.config.study import StudyConfig
from tuner.config.values import Value
from tuner.results.ranking import rank
from tuner.results.schema import State, parameters_from_row, parameters_to_row
from tuner.search.samplers import derive_trial_seed

FRONT_FINALISTS = 5
"""Trials to complete with several objectives, because a front of one shows no choice."""


@dataclass
class Proposal:
    """A trial that is to run: number, parameters, seed and purpose."""

    number: int
    parameters: dict[str, Value]
    seed: int
    purpose: Literal["search", "repeat"] = "search"
    repeat_of: int | None = None
    origin: str = ""
    sampler_attrs: str = field(default="{}", compare=False)
    """What the sampler keeps about the trial, as JSON."""


@dataclass(frozen=True)
class Retry:
    """Another attempt at a trial that failed."""

    number: int
    not_before: float = 0.0
    """Time of the monotonic clock until which the attempt waits."""
    holds: bool = False
    """True if new proposals wait until then, too."""
    avoid: str | None = None
    """Ray's identifier of the node that the attempt should not run on."""
    alone: bool = False
    """True if no other trial may run meanwhile, in a worker that ran no trial before."""


def proposal_from_row(spec: StudyConfig, row: Mapping[Any, Any]) -> Proposal:
    """Return the proposal from which a trial's row was made."""
    return Proposal(
        number=int(row["number"]),
        parameters=parameters_from_row(spec.space, row),
        seed=int(row["seed"]),
        purpose=row["purpose"],
        repeat_of=None if pd.isna(row["repeat_of"]) else int(row["repeat_of"]),
        origin=row["origin"],
        sampler_attrs=row["sampler_attrs"] if isinstance(row["sampler_attrs"], str) else "{}",
    )


def proposal_to_row(spec: StudyConfig, proposal: Proposal) -> dict[str, Any]:
    """Return the cells of a trial's row that `proposal_from_row` reads."""
    return {
        "number": proposal.number,
        "seed": proposal.seed,
        "purpose": proposal.purpose,
        "repeat_of": proposal.repeat_of,
        "origin": proposal.origin,
        "sampler_attrs": proposal.sampler_attrs,
        **parameters_to_row(spec.space, proposal.parameters),
    }


def proposals_in(spec: StudyConfig, trials: pd.DataFrame, state: State) -> list[Proposal]:
    """Return the proposals of the trials in a state, by number."""
    rows = trials[trials["state"] == state].to_dict("records")
    return [proposal_from_row(spec, row) for row in rows]


def finalists(spec: StudyConfig) -> int:
    """Return how many trials the search has to complete.

    A best trial, the repeats and the front of several objectives need that many.
    """
    top = spec.repeats.top if spec.repeats else 1
    least = 1 if len(spec.objective) == 1 else FRONT_FINALISTS
    return max(least, top) if isinstance(top, int) else least


def missing_repeats(spec: StudyConfig, trials: pd.DataFrame, first_number: int) -> list[Proposal]:
    """Propose the missing repeats of the best completed trials.

    A repeat that has begun is not missing.
    """
    if spec.repeats is None:
        return []
    ranked = rank(spec, trials)
    best = ranked if spec.repeats.top == "all" else ranked.head(spec.repeats.top)
    begun = trials["repeat_of"].value_counts()
    missing = [
        (row, index)
        for row in best.to_dict("records")
        for index in range(begun.get(row["number"], 0), spec.repeats.seeds)
    ]
    return [
        Proposal(
            number=number,
            parameters=parameters_from_row(spec.space, row),
            seed=derive_trial_seed(spec.search.seed, "repeat", row["number"], index),
            purpose="repeat",
            repeat_of=row["number"],
            origin="repeat",
        )
        for number, (row, index) in enumerate(missing, start=first_number)
    ]
