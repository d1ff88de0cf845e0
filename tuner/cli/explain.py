"""`explain` and `importance`: why a trial was proposed and ended, and which parameters matter."""

import math
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.table import Table

from tuner.cli.options import Results, StudyName
from tuner.cli.show import read_study
from tuner.cli.tables import DEFAULT_RESULTS, out, print_table
from tuner.errors import StudyError

Number = Annotated[int, typer.Argument(metavar="TRIAL", min=0, help="Number of the trial.")]
Epoch = Annotated[int, typer.Option("--epoch", min=0, help="Epoch at which trials are compared.")]


def explain(study: StudyName, trial: Number, results: Results = DEFAULT_RESULTS) -> None:
    """Explain a trial: its proposal, each rung's verdict, and its end."""
    from tuner.analysis.explain import explain as explain_trial
    from tuner.analysis.explain import verdict_text
    from tuner.analysis.formatting import is_missing, metric_text

    loaded = read_study(study, results)
    found, metric = explain_trial(loaded, trial), loaded.spec.objective[0].metric
    out.print(f"Trial {found.number}, {found.proposal}", soft_wrap=True, markup=False)
    if len(found.rungs):
        table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
        for column in ("rung", "epoch", metric, "cutoff", "rank", "verdict"):
            table.add_column(column, justify="left" if column == "verdict" else "right", no_wrap=True)
        for row in found.rungs.to_dict("records"):
            values = [metric_text(metric, row[column]) for column in ("value", "cutoff")]
            place = "" if is_missing(row["rank"]) else f"{row['rank']} of {row['of']}"
            table.add_row(f"{row['rung']:g}", str(row["epoch"]), *values, place, verdict_text(row["verdict"]))
        print_table(table)
    out.print(found.end, soft_wrap=True, markup=False)


def importance(study: StudyName, results: Results = DEFAULT_RESULTS, epoch: Epoch = 1) -> None:
    """Show how much each parameter matters.

    Shares are given for all trials and for the best trials.
    """
    from tuner.search.importance import importance as find_importance

    loaded = read_study(study, results)
    shares = find_importance(loaded.spec, loaded.trials, loaded.epochs, epoch)
    if shares.empty:
        raise StudyError(
            f"{loaded.folder}: fewer than two trials with different values at epoch {epoch}; choose another --epoch"
        )
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("parameter", "share of variance", "90 % interval", "share for the best", "90 % interval"):
        table.add_column(column, justify="left" if column == "parameter" else "right", no_wrap=True)
    for name, row in shares.to_dict("index").items():
        table.add_row(
            str(name), *_share(row, "importance", "low", "high"), *_share(row, "best", "best_low", "best_high")
        )
    objective = loaded.spec.objective[0].metric
    out.print(
        f"{objective} after epoch {epoch}; share of the variance by fANOVA, each parameter by itself;"
        " for the best 10 % of trials by PED-ANOVA",
        markup=False,
        soft_wrap=True,
    )
    print_table(table)


def _share(row: Mapping[Any, Any], *names: str) -> tuple[str, str]:
    """Write a share and its interval, nothing for missing ones."""
    share, low, high = (row[name] for name in names)
    return ("", "") if math.isnan(share) else (f"{share:.2f}", f"{low:.2f} to {high:.2f}")
