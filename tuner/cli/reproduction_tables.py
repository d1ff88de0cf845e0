"""A reproduction on the screen: where it comes from, its tables, the rules and the claims."""

from collections.abc import Iterator
from pathlib import Path
from textwrap import wrap
from typing import Literal

import pandas as pd
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from tuner.reproduction import reported
from tuner.reproduction.claims import claims
from tuner.reproduction.compare import pivot, table
from tuner.reproduction.evidence import FAILS, HOLDS
from tuner.reproduction.provenance import sources
from tuner.reproduction.verdicts import (
    CLOSE,
    DIFFERS,
    EXACT,
    FAILED,
    FAR,
    LINES_RULE,
    MARGINS,
    NOT_RUN,
    REPRODUCED,
    RULES,
    TOO_NOISY,
)

STYLES = {
    **dict.fromkeys((REPRODUCED, EXACT, HOLDS), "green"),
    **dict.fromkeys((TOO_NOISY, CLOSE, FAR), "yellow"),
    **dict.fromkeys((DIFFERS, FAILED, FAILS), "red"),
}
HEADING_WIDTH = 14
"""Characters per line of a column's heading, about as many as its numbers take."""
CLEAN = "clean: where the report looks at test images after each epoch or step, these are validation images"


def screen(name: str, results: Path, protocol: str, train_command: str) -> Iterator[Table | Text]:
    """Yield the tables and lines of a reproduction, from top to bottom.

    Print a table at its full width (`full_width`), and a line without folding it.

    Args:
        name: One of `tuner.reproduction.reported.REPORTS`.
        results: The results directory with the report's studies.
        protocol: `as_published` or `clean`.
        train_command: The command that trains what is missing.

    Raises:
        UserError: There is no such report or protocol.
    """
    compared = table(name, results, protocol)
    yield Text(f"{name}: {reported.REPORTS[name]}; protocol {protocol.replace('_', ' ')}", "bold")
    yield from _sources(sources(name, results, protocol))
    if protocol == "clean":
        yield Text(CLEAN, "yellow")
    for title, rows in compared.groupby("table", sort=False):
        yield Text(f"\n{title}", "bold")
        yield _comparison(pivot(rows).droplevel("table"))
    yield from _rules(compared)
    yield Text("\nClaims", "bold")
    for claim in claims(name, results, protocol).to_dict("records"):
        yield Text.assemble(claim["claim"], " ", (claim["verdict"], STYLES.get(claim["verdict"], "yellow")))
        yield Text(f"    {claim['numbers']}", "dim")
    if (compared["verdict"] == NOT_RUN).any():
        yield Text(f"\nWhat was not run is trained by: {train_command}")


def full_width(shown: Table, console: Console) -> int:
    """Return the width of a table, in columns of the terminal.

    It is the width at which no cell is cut or folded.
    """
    return Measurement.get(console, console.options.update(width=10_000), shown).maximum


def _sources(rows: pd.DataFrame) -> Iterator[Text]:
    """Yield a line per study: where its results come from.

    A line has the study's runs, images, protocol and differences from its file.
    """
    width = rows["study"].str.len().max()
    for row in rows.to_dict("records"):
        facts = [
            row["runs"],
            row["images"],
            row["protocol"],
            row["differs"] and f"otherwise than its file: {row['differs']}",
        ]
        yield Text(f"  {row['study']:{width}}  {'; '.join(filter(None, facts))}")


def _rules(compared: pd.DataFrame) -> Iterator[Text]:
    """Yield the meaning of each verdict in a table, and the margins."""
    yield Text("")
    for word, meaning in RULES.items():
        if (compared["verdict"] == word).any():
            yield Text(f"{word}: {meaning}", "dim")
    if compared["margin"].notna().any():
        yield Text(MARGINS, "dim")
    if (compared["step"] == "all").any():
        yield Text(LINES_RULE, "dim")


def _comparison(cells: pd.DataFrame) -> Table:
    """Return a table whose headings have a quantity and a field.

    The field stands below its quantity.
    """
    shown = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    shown.add_column("", no_wrap=True)
    above = ""
    for quantity, field in ((str(column[0]), str(column[1])) for column in cells.columns):
        heading = [] if quantity == above else wrap(quantity.replace(" (", "\N{NO-BREAK SPACE}("), HEADING_WIDTH)
        above = quantity
        justify: Literal["left", "right"] = "left" if field == "verdict" else "right"
        shown.add_column("\n".join([*heading, field]).strip(), justify=justify, no_wrap=True)
    for row, texts in zip(cells.index, cells.to_numpy().tolist(), strict=True):
        shown.add_row(Text(row), *(Text(text, STYLES.get(text, "")) for text in texts))
    return shown
