"""The question of a study and its answer, in a few sentences."""

import pandas as pd

from tuner.analysis.confirmation import Winner, find_winner
from tuner.analysis.formatting import format_duration, metric_text, number_text, parameters_text
from tuner.analysis.front import front
from tuner.analysis.leaderboard import counts_by_state
from tuner.analysis.parameters import searched_parameters
from tuner.report.blocks import FATES, Block, facts, text
from tuner.report.context import Context
from tuner.results.folder import StudyResults, is_finished
from tuner.results.ranking import rank_confirmed
from tuner.results.runs import read_runs
from tuner.results.schema import is_search

SEVERAL = 4
"""Parameters that the question names at most."""


def answer(context: Context) -> list[Block]:
    """Return the question, the answer, and the numbers that stand out."""
    study, key = context.study, context.key
    return [
        text(f"{key}_question", question(study)) | {"style": "question"},
        text(f"{key}_answer", best_sentence(study) + front_sentence(study), cost_sentence(study)) | {"style": "answer"},
        facts(f"{key}_facts", *_facts(study)),
    ]


def question(study: StudyResults) -> str:
    """Ask what the study was run for."""
    names = list(searched_parameters(study.spec.space))
    few = names[:SEVERAL] if len(names) > SEVERAL + 1 else names
    rest = len(names) - len(few)
    said = [*few, f"{rest} more"] if rest else few
    listed = ", ".join(said[:-1]) + (" and " if len(said) > 1 else "") + "".join(said[-1:])
    goals = " and ".join(f"{each.direction}s {each.metric}" for each in study.spec.objective)
    if not names:
        return f"What does the configuration reach on {study.spec.dataset.name}?"
    return f"Which {listed} {_plural(goals, len(names))} on {study.spec.dataset.name}?"


def _plural(goals: str, count: int) -> str:
    return goals.replace("maximizes", "maximize").replace("minimizes", "minimize") if count > 1 else goals


def best_sentence(study: StudyResults) -> str:
    """Name the best configuration and its value.

    The value is the mean of its repeats, or a single value without repeats.
    """
    ranked = rank_confirmed(study.spec, study.trials)
    metric = study.spec.objective[0].metric
    if ranked.empty:
        return _nothing(study)
    best = ranked.iloc[0]
    number, value = int(best["number"]), metric_text(metric, best["value"])
    said = parameters_text(best.to_dict())
    with_parameters = f" with {said}" if said else ""
    winner = find_winner(study.spec, study.trials)
    if winner is not None and winner.number == number:
        return f"Trial {number}{with_parameters} has {metric} {_confirmed(winner, metric)}."
    tried = int(is_search(study.trials).sum())
    doubt = f", chosen among {tried:,} trials and not repeated" if tried > 1 else ", not repeated"
    return f"Trial {number}{with_parameters} has {metric} {value}: a single value{doubt}."


def front_sentence(study: StudyResults) -> str:
    """Count the trials on the Pareto front.

    The text is empty for one objective, and for a front of one trial.
    """
    names = [objective.metric for objective in study.spec.objective]
    found = front(study) if len(names) > 1 else pd.DataFrame({"is_front": []})
    count = int(found["is_front"].sum())
    return f" The Pareto front of {' and '.join(names)} has {count:,} trials." if count > 1 else ""


def _confirmed(winner: Winner, metric: str) -> str:
    mean, low, high = (metric_text(metric, value) for value in (winner.mean, winner.low, winner.high))
    seeds = f"the mean of {winner.seeds} repeats with other seeds"
    if winner.seeds < 2 or not low:
        return f"{mean} in one repeat with another seed"
    return f"{mean}, {seeds} (95\u00a0% interval {low} to {high})"


def _nothing(study: StudyResults) -> str:
    """Describe a study without a completed trial."""
    counts = counts_by_state(study.trials)
    found = [f"{count:,} {FATES[state]}" for state, count in counts.items() if count]  # type: ignore[index]
    if not found:
        return "No trial has begun."
    if counts["COMPLETE"]:
        return f"No completed trial is inside the constraints: {', '.join(found)}."
    return f"No trial is complete yet: {', '.join(found)}."


def cost_sentence(study: StudyResults) -> str:
    """Describe what the search cost, and what stopping saved."""
    trained = trained_epochs(study)
    if not trained:
        return "Nothing was trained yet."
    running = running_seconds(study)
    took = f" in {format_duration(running)}" if running else ""
    saved = saved_epochs(study.trials)
    kept = (
        f"Stopping saved {saved:,} epochs, {100 * saved / (saved + trained):.0f}\u00a0% of what all trials had planned."
    )
    said = f"The study trained {trained:,} epochs in {len(study.trials):,} trials{took}."
    return f"{said} {kept if saved else 'No trial was stopped early.'}"


def trained_epochs(study: StudyResults) -> int:
    """Count the epochs that all trials trained."""
    return int((study.epochs["epoch"] > 0).sum())


def saved_epochs(trials: pd.DataFrame) -> int:
    """Count the epochs that stopped trials had planned and did not train."""
    stopped = trials[trials["state"] == "PRUNED"]
    left = stopped["epochs_planned"].fillna(0) - stopped["epochs_run"].fillna(0)
    return int(left.clip(lower=0).sum())


def running_seconds(study: StudyResults) -> float:
    """Add up the seconds of all runs."""
    return sum(run.seconds for run in read_runs(study.folder.provenance(), study.folder.tables(study.spec)))


def _facts(study: StudyResults) -> list[tuple[str, str, str]]:
    """Return the numbers that stand out."""
    spec, trials = study.spec, study.trials
    ranked, metric = rank_confirmed(spec, trials), spec.objective[0].metric
    counts = counts_by_state(trials)
    said = ", ".join(f"{count:,} {FATES[state]}" for state, count in counts.items() if count)  # type: ignore[index]
    found = [("trials", f"{len(trials):,}", said or "none yet")]
    if not ranked.empty:
        best = ranked.iloc[0]
        mean = best["confirmed"]
        is_confirmed = bool(pd.notna(mean))
        value = metric_text(metric, mean if is_confirmed else best["value"])
        note = f"trial {best['number']}, " + ("mean of its repeats" if is_confirmed else "a single value")
        found.insert(0, (metric, value, note))
        if pd.notna(best["test_accuracy"]):
            found.insert(1, ("test accuracy", metric_text("accuracy", best["test_accuracy"]), "of that trial"))
    trained, saved, running = trained_epochs(study), saved_epochs(trials), running_seconds(study)
    found.append(("epochs", f"{trained:,}", f"{saved:,} saved by stopping"))
    if running:
        found.append(("time", format_duration(running), f"{number_text(running / max(trained, 1))} s per epoch"))
    state = "finished" if is_finished(spec, trials) else "not finished"
    return [*found, ("state", state, f"of {spec.search.trials or 1:,} trials planned")]
