"""`replay`: what other rules would have found on a study's recorded curves."""

from typing import TYPE_CHECKING

from rich.table import Table

from tuner.cli.options import Results, StudyName
from tuner.cli.show import read_study
from tuner.cli.tables import DEFAULT_RESULTS, out, print_table
from tuner.errors import StudyError

if TYPE_CHECKING:
    import pandas as pd

    from tuner.results.folder import StudyResults

COLUMNS = ("rule", "grace", "factor", "epochs", "complete", "not\nrecorded", "trial", "half", "all")
RANDOM = ("random:\nnot recorded", "\nhalf", "\nall")


def replay(study: StudyName, results: Results = DEFAULT_RESULTS) -> None:
    """Show what other stopping rules would have found on the recorded curves."""
    from tuner.search.replay import replay as replay_study

    loaded = read_study(study, results)
    found = replay_study(loaded.spec, loaded.trials, loaded.epochs)
    if not found["begun"].any():
        raise StudyError(f"{loaded.folder}: no trial has reported yet")
    print_table(replay_table(loaded, found))
    for line in (
        "half, all: the best complete trial after half and all of the study's epochs",
        "not recorded: trials with which the rule would have gone on beyond their recorded epochs; they end"
        " there, so the more of them, the less the row says",
    ):
        out.print(line, soft_wrap=True, markup=False)


def replay_table(study: "StudyResults", found: "pd.DataFrame") -> Table:
    """Draw the replays, after the study as it was run."""
    from tuner.analysis.formatting import metric_text, number_text

    metric = study.spec.objective[0].metric
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for index, column in enumerate((*COLUMNS, *RANDOM)):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    table.add_row(*_as_run(study, metric))
    for row in found.to_dict("records"):
        names = ("grace_period", "reduction_factor", "epochs", "complete", "cut", "number")
        counts = [number_text(row[name]).removesuffix(".0") for name in names]
        values = [metric_text(metric, row[name]) for name in ("half", "value")]
        values += [f"{row['random_cut']:.0f}", metric_text(metric, row["random_half"])]
        interval = f"{metric_text(metric, row['random_value'])} ± {metric_text(metric, row['random_interval'])}"
        table.add_row(str(row["rule"]), *counts, *values, interval)
    return table


def _as_run(study: "StudyResults", metric: str) -> list[str]:
    """Return the cells of the study as it was run."""
    from tuner.analysis.formatting import metric_text
    from tuner.results.ranking import rank
    from tuner.search.replay import recorded_curves

    ranked = rank(study.spec, study.trials)
    epochs = sum(len(curve.values) for curve in recorded_curves(study.spec, study.trials, study.epochs))
    best = ["", "", ""] if ranked.empty else [f"{ranked['number'][0]}", "", metric_text(metric, ranked["value"][0])]
    return ["as it was run", "", "", str(epochs), str(len(ranked)), "", *best, "", "", ""]
