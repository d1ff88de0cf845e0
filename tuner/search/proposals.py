"""Trials that are to run: read from their rows, or repeats of the best."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from tuner.config.parameters import Value
from tuner.config.study import StudyConfig
from tuner.results.folder import rank
from tuner.results.schema import parameters_from_row
from tuner.search.samplers import derive_trial_seed


@dataclass
class Proposal:
    """A trial that is to run: its number, parameters and seed, and why it runs."""

    number: int
    parameters: dict[str, Value]
    seed: int
    purpose: Literal["search", "repeat"] = "search"
    repeat_of: int | None = None
    origin: str = ""


def in_flight(trials: pd.DataFrame) -> pd.DataFrame:
    """Trials that were begun and not finished."""
    return trials[trials["state"] == "RUNNING"]


def proposal_from_row(spec: StudyConfig, row: Mapping[Any, Any]) -> Proposal:
    """The proposal that a trial's row came from."""
    return Proposal(
        int(row["number"]),
        parameters_from_row(spec.space, row),
        int(row["seed"]),
        row["purpose"],
        None if pd.isna(row["repeat_of"]) else int(row["repeat_of"]),
        row["origin"],
    )


def missing_repeats(spec: StudyConfig, trials: pd.DataFrame, first_number: int) -> list[Proposal]:
    """Repeats of the best completed trials, with other seeds, that the study asks for and that were not begun yet."""
    if spec.repeats is None:
        return []
    proposals: list[Proposal] = []
    ranked = rank(spec, trials)
    for best in ranked.head(len(ranked) if spec.repeats.top == "all" else spec.repeats.top).to_dict("records"):
        begun = int((trials["repeat_of"] == best["number"]).sum())
        for index in range(begun, spec.repeats.seeds):
            number, seed = (
                first_number + len(proposals),
                derive_trial_seed(spec.search.seed, "repeat", best["number"], index),
            )
            parameters = parameters_from_row(spec.space, best)
            proposals.append(Proposal(number, parameters, seed, "repeat", best["number"], "repeat"))
    return proposals
