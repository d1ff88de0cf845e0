"""`compare`: several studies side by side."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from tuner.cli.completion import complete_study
from tuner.cli.formats import Csv, Json, Markdown, choose_format, print_frame
from tuner.cli.options import Results
from tuner.cli.show import find_study
from tuner.cli.tables import DEFAULT_RESULTS, err, out, print_table
from tuner.errors import StudyError

if TYPE_CHECKING:
    from tuner.analysis.compare import Comparison

Studies = Annotated[
    list[str],
    typer.Argument(metavar="STUDY", help="Names or paths of two studies or more.", autocompletion=complete_study),
]


def compare(
    studies: Studies,
    results: Results = DEFAULT_RESULTS,
    csv: Csv = False,
    as_json: Json = False,
    markdown: Markdown = False,
) -> None:
    """Compare the settings, best values and costs of studies.

    A test of the repeats shows whether a study is ahead.
    """
    from tuner.analysis.compare import compare as compare_studies
    from tuner.results.folder import load_study

    format_ = choose_format(csv, as_json, markdown)
    folders = list(dict.fromkeys(str(find_study(study, results)) for study in studies))
    if len(folders) < 2:
        raise StudyError(f"STUDY: found {folders[0]} alone; allowed: two studies or more, see tuner ls")
    found = compare_studies([load_study(folder) for folder in folders])
    if format_:
        print_frame(found.results.join(found.settings.T).reset_index(), format_)
    else:
        print_table(_table(found))
    console = err if format_ else out
    for line in [*found.obstacles, *found.tests["verdict"]]:
        console.print(line, markup=False, soft_wrap=True)
    if found.obstacles:
        console.print("The values cannot be compared: no test", style="yellow")


def _table(found: "Comparison") -> Table:
    """Draw a table with one column per study.

    Settings that differ come first, one per row. Results follow.
    """
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("")
    for name in found.results.index:
        table.add_column(Text(name), no_wrap=True)
    for key, cells in found.settings.to_dict("index").items():
        _add(table, str(key), cells.values())
    if len(found.settings):
        table.add_row()
    summaries = [_cells(row) for row in found.results.to_dict("records")]
    for key in (key for key in summaries[0] if any(cells[key] for cells in summaries)):
        _add(table, key, (cells[key] for cells in summaries))
    return table


def _add(table: Table, key: str, cells: Iterable[Any]) -> None:
    from tuner.analysis.formatting import number_text
    from tuner.errors import shorten

    table.add_row(Text(key), *(Text(shorten(number_text(cell), 60)) for cell in cells))


def _cells(row: dict[Any, Any]) -> dict[str, str]:
    """Write the results of a study as people read them."""
    from tuner.analysis.formatting import format_duration, metric_text, number_text, whole_number

    metric = row["metric"]
    mean, low, high, value = (metric_text(metric, row[key]) for key in ("mean", "low", "high", "value"))
    slots, wall = (row[key] for key in ("slot_seconds", "wall_seconds"))
    return {
        "trials": f"{row['completed']} completed of {row['trials']}",
        "best trial": number_text(row["best"] if row["best"] is None else whole_number(row["best"])),
        "best value, in the search": f"{value} {metric}" if value else "",
        "mean of its repeats": f"{mean} ({row['seeds']} seeds)" if mean else "not repeated",
        "95 % interval": f"{low} to {high}" if low else "",
        "test accuracy, in the search": metric_text("accuracy", row["test_accuracy"]),
        "epochs": f"{row['epochs']:,}",
        "training": format_duration(row["train_seconds"]),
        "time of slots": "" if slots is None else format_duration(slots),
        "time": "" if wall is None else format_duration(wall),
    }
