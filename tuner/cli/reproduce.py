"""`reproduce`: compare published reports with the results of their studies."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from tuner.cli.options import Data, Results
from tuner.cli.run import check_before_start, run_here
from tuner.cli.tables import err, out, program
from tuner.errors import INTERRUPTED, UserError
from tuner.storage import is_url

if TYPE_CHECKING:  # because pandas takes a second
    from tuner.config.study import StudyConfig

REFERENCE_RESULTS = "notebooks/results"
"""Where the committed tables of the published studies are."""


def reproduce(
    report: Annotated[str, typer.Argument(metavar="NAME", help="vazquez, higueros, rubio, tinoco or cesar.")],
    results: Results = REFERENCE_RESULTS,
    data: Data = None,
    train: Annotated[bool, typer.Option("--run", help="Train the missing trials first.")] = False,
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, help="With --run: seeds per configuration.")] = None,
    protocol: Annotated[str, typer.Option("--protocol", help="as_published or clean.")] = "as_published",
) -> None:
    """Compare a published report with the results of its studies.

    Rows and claims are compared one by one.
    """
    from tuner.cli.reproduction_tables import full_width, screen
    from tuner.reproduction import reported

    studies = reported.studies(report, protocol)
    if is_url(results):
        raise UserError(f"--results: found '{results}'; allowed here: a folder")
    if seeds and not train:
        raise UserError("--seeds: only together with --run")
    if train:
        _train_report(report, [reported.load_study_file(study, seeds) for study in studies], results, data)
    options = [] if results == REFERENCE_RESULTS else ["--results", results]
    options += [] if protocol == "as_published" else ["--protocol", protocol]
    train_command = shlex.join([*program(), "reproduce", report, "--run", *options])
    for part in screen(report, Path(results), protocol, train_command):
        if isinstance(part, Table):
            out.width = max(out.width, full_width(part, out))
        out.print(part, soft_wrap=isinstance(part, Text))


def _train_report(report: str, specs: "list[StudyConfig]", results: str, data: Path | None) -> None:
    """Run the studies of a report in turn, and measure its shapes.

    Each study runs as `run` does.
    """
    from tuner.reproduction.shapes import write_shapes
    from tuner.results.folder import StudyFolder, is_finished, load_study

    for spec in specs:
        folder = StudyFolder(f"{results}/{spec.study}")
        earlier = load_study(str(folder)) if folder.holds_a_study else None
        if earlier is None or not is_finished(spec, earlier.trials):
            check_before_start(folder, spec, data, fresh=False)
        if run_here(spec, results, data, earlier) == "interrupt":
            err.print("Interrupted; the same command goes on", style="yellow")
            raise typer.Exit(INTERRUPTED)
    write_shapes(report, Path(results))
