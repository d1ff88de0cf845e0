"""`ls` and `show`: the state of studies, from their tables."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli.formats import Csv, Json, Markdown, choose_format, print_frame
from tuner.cli.ledger import show_ledger
from tuner.cli.options import Results, StudyName, Top
from tuner.cli.submit import connect_jobs
from tuner.cli.tables import DEFAULT_RESULTS, out, program, show_jobs, show_studies, show_study, study_rows
from tuner.errors import StudyError, suggest
from tuner.storage import is_url

if TYPE_CHECKING:
    from tuner.results.folder import StudyFolder, StudyResults

SHOWN = 10
"""Trials of a leaderboard for people, unless another number is asked for."""


def list_studies(
    results: Results = DEFAULT_RESULTS,
    address: Annotated[
        str | None, typer.Option("--address", help="List the jobs of a cluster: http://HOST:8265.")
    ] = None,
    csv: Csv = False,
    as_json: Json = False,
    markdown: Markdown = False,
) -> None:
    """List the studies of a results directory, or those of a cluster."""
    import pandas as pd

    from tuner.results.folder import find_studies

    format_ = choose_format(csv, as_json, markdown)
    if address and format_:
        raise StudyError(f"--{format_}: found with --address; allowed: with studies of --results")
    if address:
        show_jobs(connect_jobs(address).list(), address)
        return
    if results != DEFAULT_RESULTS and not is_url(results) and not Path(results).is_dir():
        raise StudyError(f"--results: no folder {results}; allowed: the folder that studies were run into")
    studies = find_studies(results)
    if format_:
        print_frame(pd.DataFrame(study_rows(studies), dtype=object), format_)
        return
    if not studies:
        first = shlex.join([*program(), "run", "search_spaces/digits.yaml"])
        out.print(f"No studies in {results}; begin one with: {first}", soft_wrap=True, markup=False)
        return
    show_studies(studies)


def show(
    study: StudyName,
    results: Results = DEFAULT_RESULTS,
    top: Top = None,
    csv: Csv = False,
    as_json: Json = False,
    markdown: Markdown = False,
) -> None:
    """Show a study's state, best trials and use of time."""
    from tuner.analysis.leaderboard import leaderboard

    format_ = choose_format(csv, as_json, markdown)
    loaded = read_study(study, results)
    if format_:
        print_frame(leaderboard(loaded, top), format_)
        return
    show_study(loaded, top or SHOWN)
    show_ledger(loaded)


def best(
    study: StudyName,
    results: Results = DEFAULT_RESULTS,
    csv: Csv = False,
    as_json: Json = False,
    markdown: Markdown = False,
) -> None:
    """Show the best configuration of a study.

    Trials with repeats are ranked by the means of their repeats.
    """
    from tuner.analysis.confirmation import winner_lines
    from tuner.analysis.formatting import metric_text, parameters_text
    from tuner.analysis.leaderboard import leaderboard

    format_ = choose_format(csv, as_json, markdown)
    loaded = read_study(study, results)
    row, metric = loaded.best, loaded.spec.objective[0].metric
    if format_:
        print_frame(leaderboard(loaded, 1), format_)
        return
    searched = f"{metric} {metric_text(metric, row['value'])} in the search"
    lines = winner_lines(loaded.spec, loaded.trials) or [f"Trial {row['number']}: {searched}, not repeated"]
    for line in (*lines, parameters_text(row.to_dict())):
        if line:
            out.print(line, soft_wrap=True, markup=False)


def read_study(study: str, results: str) -> "StudyResults":
    """Read a study that is given by its name or path.

    Raises:
        StudyError: The study does not exist.
    """
    from tuner.results.folder import StudyResults

    folder = find_study(study, results)
    return StudyResults(folder, folder.spec())


def find_study(study: str, results: str) -> "StudyFolder":
    """Return the folder of a study, given its name or path.

    Raises:
        StudyError: There are other studies, but not this one.
    """
    from tuner.results.folder import StudyFolder, find_studies

    is_path = is_url(study) or Path(study).is_absolute() or StudyFolder(study).holds_a_study
    folder = StudyFolder(study if is_path else f"{results}/{study}")
    if not is_path and not folder.holds_a_study and (names := [found.name for found in find_studies(results)]):
        raise StudyError(f"{results}: no study '{study}'; {suggest(study, names)}")
    return folder
