"""What became of a trial, and why: its proposal, its rungs and its end, from the tables alone."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from tuner.analysis.formatting import is_missing, metric_text, parameters_text
from tuner.errors import printable
from tuner.results.folder import StudyResults
from tuner.results.ranking import rank
from tuner.results.schema import is_untried

RUNG_COLUMNS = ["rung", "epoch", "value", "cutoff", "rank", "of", "verdict"]
_VERDICTS = {
    "go": "went on",
    "stop": "stopped",
    "wait": "waited",
    "promote": "was promoted",
    "finish": "went on to its end, as the best that waited",
    "complete": "completed",
    "time": "was out of time",
}


@dataclass(frozen=True)
class Explanation:
    """The proposal, the rungs and the end of one trial.

    Attributes:
        number: The trial.
        proposal: Who proposed it, and its parameters.
        rungs: One row per verdict, in the order of time, with the columns `RUNG_COLUMNS`.
        end: What became of it.
    """

    number: int
    proposal: str
    rungs: pd.DataFrame
    end: str


def explain(study: StudyResults, number: int) -> Explanation:
    """Explain one trial.

    Raises:
        StudyError: The study has no such trial. The nearest number is named.
    """
    row = study.trial(number)
    decisions = study.decisions
    rungs = decisions.loc[decisions["number"] == number, RUNG_COLUMNS].reset_index(drop=True)
    return Explanation(number, _proposal(row), rungs, _end(study, row, rungs))


def verdict_text(verdict: str) -> str:
    """Write a verdict in words: `was promoted`."""
    return _VERDICTS.get(verdict, verdict)


def _proposal(row: dict[str, Any]) -> str:
    drawn = parameters_text(row) or "no parameters"
    if row["purpose"] == "repeat":
        return f"repeats trial {row['repeat_of']} with seed {row['seed']}: {drawn}"
    if row["origin"] == "try_first":
        return f"named under search.try_first, with seed {row['seed']}: {drawn}"
    if row["origin"] == "learn_from":
        return f"one of the best of search.learn_from, with seed {row['seed']}: {drawn}"
    return f"proposed by {row['origin']}, with seed {row['seed']}: {drawn}"


def _end(study: StudyResults, row: dict[str, Any], rungs: pd.DataFrame) -> str:
    """Describe the state of a trial in one sentence."""
    attempts = f" in {row['attempt']} attempts" if row["attempt"] > 1 else ""
    done = f"{_number(row['epochs_run'])} of {_number(row['epochs_planned'])} epochs{attempts}"
    match row["state"]:
        case "COMPLETE":
            return f"COMPLETE after {done}: {_value(study, row)}{_place(study, row)}"
        case "FAILED":
            log = study.folder.storage.path(study.folder.log(row["number"], row["attempt"]))
            kind, error = printable(str(row["error_kind"])), printable(str(row["error"]))
            return f"FAILED ({kind}) after {done}: {error}; its log is {log}"
        case "PRUNED":
            if is_untried(row):
                return f"PRUNED before its training: {printable(str(row['error']))}"
            return f"PRUNED after {done}: {_value(study, row)}{_reason(study, rungs)}"
        case "PAUSED":
            return f"PAUSED after {done}: {_value(study, row)}; it waits at rung {rungs['rung'].iloc[-1]:g}"
    return f"{row['state']} after {done}"


def _reason(study: StudyResults, rungs: pd.DataFrame) -> str:
    """Describe the verdict that ended a pruned trial."""
    if rungs.empty:
        return "; no verdict on it is kept"
    last = rungs.iloc[-1]
    if last["verdict"] == "time":
        return "; it took longer than budget.trial_minutes"
    if last["verdict"] != "stop":
        return f"; it waited at rung {last['rung']:g} until the search ended"
    cutoff = metric_text(study.spec.objective[0].metric, last["cutoff"])
    needed = f", where {cutoff} was needed" if cutoff else ""
    return f"; rung {last['rung']:g} stopped it{needed}"


def _place(study: StudyResults, row: dict[str, Any]) -> str:
    ranked = rank(study.spec, study.trials)["number"].tolist()
    return f", place {ranked.index(row['number']) + 1} of {len(ranked)}" if row["number"] in ranked else ""


def _value(study: StudyResults, row: dict[str, Any]) -> str:
    metric = study.spec.objective[0].metric
    return f"{metric} {metric_text(metric, row['value']) or 'not measured'}"


def _number(value: Any) -> str:
    return "0" if is_missing(value) else f"{value:g}"
