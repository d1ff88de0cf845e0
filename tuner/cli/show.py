"""`ls` and `show`: the state of studies, from their tables."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli.ledger import show_ledger
from tuner.cli.options import Results, StudyName, Top
from tuner.cli.submit import connect_jobs
from tuner.cli.tables import DEFAULT_RESULTS, out, program, show_jobs, show_studies, show_study
from tuner.errors import StudyError, suggest
from tuner.storage import is_url

if TYPE_CHECKING:
    from tuner.results.folder import StudyFolder


def list_studies(
    results: Results = DEFAULT_RESULTS,
    address: Annotated[
        str | None, typer.Option("--address", help="List the jobs of a cluster: http://HOST:8265.")
    ] = None,
) -> None:
    """List the studies of a results directory, or those of a cluster."""
    from tuner.results.folder import find_studies

    if address:
        show_jobs(connect_jobs(address).list(), address)
        return
    if results != DEFAULT_RESULTS and not is_url(results) and not Path(results).is_dir():
        raise StudyError(f"--results: no folder {results}; allowed: the folder that studies were run into")
    studies = find_studies(results)
    if not studies:
        first = shlex.join([*program(), "run", "search_spaces/digits.yaml"])
        out.print(f"No studies in {results}; begin one with: {first}", soft_wrap=True, markup=False)
        return
    show_studies(studies)


def show(study: StudyName, results: Results = DEFAULT_RESULTS, top: Top = 10) -> None:
    """Show a study's state, its best trials, and what its time was spent on."""
    from tuner.results.folder import load_study

    loaded = load_study(str(find_study(study, results)))
    show_study(loaded, top)
    show_ledger(loaded)


def best(study: StudyName, results: Results = DEFAULT_RESULTS) -> None:
    """Show the best configuration, by the means of repeats where there are some."""
    from tuner.analysis.confirmation import winner_lines
    from tuner.analysis.formatting import metric_text, parameters_text
    from tuner.results.folder import load_study

    loaded = load_study(str(find_study(study, results)))
    row, metric = loaded.best, loaded.spec.objective[0].metric
    searched = f"{metric} {metric_text(metric, row['value'])} in the search"
    lines = winner_lines(loaded.spec, loaded.trials) or [f"Trial {row['number']}: {searched}, not repeated"]
    for line in (*lines, parameters_text(row.to_dict())):
        if line:
            out.print(line, soft_wrap=True, markup=False)


def find_study(study: str, results: str) -> "StudyFolder":
    """Return the folder of a study that is given by its name or path.

    Raises:
        StudyError: There are other studies, but not this one.
    """
    from tuner.results.folder import StudyFolder, find_studies

    is_path = is_url(study) or StudyFolder(study).holds_a_study
    folder = StudyFolder(study if is_path else f"{results}/{study}")
    if not folder.holds_a_study and (names := [found.name for found in find_studies(results)]):
        raise StudyError(f"{results}: no study '{study}'; {suggest(study, names)}")
    return folder
