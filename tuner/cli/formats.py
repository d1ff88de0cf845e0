"""Tables for programs: CSV, JSON and Markdown in full precision on standard output."""

import json
import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuner.cli.streams import check_output
from tuner.errors import StudyError

if TYPE_CHECKING:
    import pandas as pd

Csv = Annotated[bool, typer.Option("--csv", help="Print CSV in full precision, and nothing else.")]
Json = Annotated[bool, typer.Option("--json", help="Print a JSON list of rows in full precision.")]
Markdown = Annotated[bool, typer.Option("--md", help="Print a Markdown table in full precision.")]


def choose_format(csv: bool, as_json: bool, markdown: bool) -> str | None:
    """Return the chosen format, None for tables that people read.

    Raises:
        StudyError: More than one format is asked for.
    """
    chosen = [name for name, is_on in (("csv", csv), ("json", as_json), ("md", markdown)) if is_on]
    if len(chosen) > 1:
        found = " and ".join(f"--{name}" for name in chosen)
        raise StudyError(f"{found}: found together; allowed: one of --csv, --json, --md")
    return chosen[0] if chosen else None


def print_frame(frame: "pd.DataFrame", format_: str) -> None:
    """Print a table as `csv`, `json` or `md`, without its index.

    Raises:
        StudyError: Standard output does not take all of it.
    """
    writers = {"csv": _to_csv, "json": _to_json, "md": _to_markdown}
    typer.echo(writers[format_](frame), nl=False)
    check_output()


def _to_csv(frame: "pd.DataFrame") -> str:
    return frame.to_csv(index=False, lineterminator="\n")


def _to_json(frame: "pd.DataFrame") -> str:
    """Write rows as JSON, with null for missing or infinite numbers."""
    return json.dumps(_rows(frame), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _to_markdown(frame: "pd.DataFrame") -> str:
    rows = [["" if cell is None else _markdown_cell(cell) for cell in row.values()] for row in _rows(frame)]
    lines = [[_markdown_cell(name) for name in frame], ["---"] * frame.shape[1], *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _markdown_cell(cell: Any) -> str:
    """Write a cell in one line, with Markdown and HTML escaped."""
    text = " ".join(str(cell).split())
    for sign in "\\`*_|[]<>&":
        text = text.replace(sign, f"\\{sign}")
    return text


def _rows(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    return [{str(name): _plain(cell) for name, cell in row.items()} for row in frame.to_dict("records")]


def _plain(cell: Any) -> Any:
    """Return a cell as JSON has it."""
    import pandas as pd

    plain = cell.tolist() if hasattr(cell, "tolist") else cell
    if isinstance(plain, list):
        return [_plain(each) for each in plain]
    if isinstance(plain, str):
        return plain
    if pd.isna(plain) or plain in (math.inf, -math.inf):
        return None
    return plain.isoformat() if hasattr(plain, "isoformat") else plain
