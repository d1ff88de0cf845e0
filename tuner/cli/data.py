"""`data`: what a data set holds, with its split and its copies."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.table import Table
from rich.text import Text

from tuner.cli.options import Data, load_study_file
from tuner.cli.tables import out, print_table
from tuner.config.dataset import DatasetConfig
from tuner.errors import DataError, printable

if TYPE_CHECKING:  # because Pillow and Parquet take time, which --help should not
    from tuner.data.dataset import Dataset
    from tuner.data.splits import Split
    from tuner.data.survey import Survey

MOST_ROWS = 60
"""Classes to list."""
MOST_KINDS = 6
"""Sizes, modes and broken files to list."""


def data(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="A name, a folder, Parquet files, .tar shards, module:function, or a study file."
        ),
    ],
    image_size: Annotated[
        int | None, typer.Option("--image-size", min=4, max=1024, help="Resize both sides to so many pixels.")
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option("--sheet", metavar="FILE.png", help="Write a picture of some images of each class.")
    ] = None,
    root: Data = None,
) -> None:
    """Show a data set's classes, split, sizes, broken files and copies."""
    from tuner.data.contact_sheet import check_sheet
    from tuner.data.survey import survey

    check_sheet(sheet, "--sheet")
    found = survey(_config(source, image_size), root)
    _print_files(found)
    if found.dataset is None or found.parts is None:
        raise DataError(f"{found.path}: {len(found.files.broken):,} broken images; mend or remove them")
    _print_classes(found.dataset, found.parts)
    _print_copies(found)
    for note in found.notes:
        _say(note)
    if sheet is not None:
        from tuner.data.contact_sheet import draw_sheet, write_sheet

        write_sheet(draw_sheet(found.dataset, found.parts), sheet)
        _say(f"Written: {sheet}")


def _config(source: str, image_size: int | None) -> DatasetConfig:
    if Path(source).suffix.lower() in (".yaml", ".yml"):
        config = load_study_file(Path(source), None, None).dataset
        return config if image_size is None else config.model_copy(update={"image_size": image_size})
    return DatasetConfig(name=source, image_size=image_size)


def _say(text: str) -> None:
    out.print(printable(text), markup=False, soft_wrap=True)


def _print_files(found: "Survey") -> None:
    """Print the files' sizes, modes and formats, and the broken files."""
    files, dataset = found.files, found.dataset
    if files.sizes:
        sizes: Counter[str] = Counter({f"{w}x{h}": count for (w, h), count in files.sizes.items()})
        for title, kinds in (("sizes", sizes), ("modes", files.modes), ("formats", files.formats)):
            _say(f"{title:<8} {_listed(kinds)}")
    elif dataset is not None:
        size, mode = dataset.image_size, "gray" if dataset.in_channels == 1 else "RGB"
        _say(f"{'sizes':<8} {size}x{size}, {mode}")
    if files.broken:
        _say(f"{'broken':<8} {len(files.broken):,}")
        for line in files.broken[:MOST_KINDS]:
            _say(f"  {line}")
        if len(files.broken) > MOST_KINDS:
            _say(f"  and {len(files.broken) - MOST_KINDS:,} more")


def _listed(kinds: "Counter[str]") -> str:
    """List the most frequent kinds with their counts."""
    named = [f"{kind} ({count:,})" for kind, count in kinds.most_common(MOST_KINDS)]
    more = len(kinds) - MOST_KINDS
    return ", ".join(named) + (f" and {more:,} more" if more > 0 else "")


def _print_classes(dataset: "Dataset", parts: "Split") -> None:
    """Print the number of images by class and part."""
    labels = (dataset.train_labels[parts.train], dataset.train_labels[parts.validation], dataset.test_labels)
    counts = np.stack([np.bincount(each, minlength=len(dataset.classes)) for each in labels], axis=1)
    rows = [(name, *row, row.sum()) for name, row in zip(dataset.classes, counts, strict=True)]
    table = _table("class", ("training", "validation", "test", "all"))
    for row in rows[:MOST_ROWS]:
        table.add_row(*_cells(row))
    if len(rows) > MOST_ROWS:
        table.add_row(f"and {len(rows) - MOST_ROWS:,} more")
    table.add_section()
    table.add_row(*_cells((f"all {len(rows):,} classes", *counts.sum(0), counts.sum())))
    out.print()
    print_table(table)


def _print_copies(found: "Survey") -> None:
    """Print how many images are equal or alike, by pairs of parts."""
    from tuner.data.duplicates import NEAR_BITS, NEAR_CORRELATION

    out.print()
    rows = [(exact, near) for exact, near in zip(found.exact, found.near, strict=True) if exact.count or near.count]
    if not rows:
        _say("copies   none, neither equal nor alike")
        return
    table = _table("images with a copy", ("equal", "alike"))
    table.add_column("example", overflow="fold")
    for exact, near in rows:
        pair, sign = (exact.example, " = ") if exact.count else (near.example, " ~ ")
        where = f"within {exact.first}" if exact.first == exact.second else f"{exact.second} in {exact.first}"
        table.add_row(*_cells((where, exact.count, near.count, sign.join(pair or ()))))
    print_table(table)
    _say(
        f"alike: dHash within {NEAR_BITS} of 64 bits, and gray levels that correlate by {NEAR_CORRELATION} or more;"
        " look at them before removing any"
    )


def _table(first: str, numbers: Iterable[str]) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column(first, overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _cells(row: Iterable[object]) -> list[Text]:
    """Return cells whose text is not markup."""
    return [Text(printable(cell) if isinstance(cell, str) else f"{cell:,}") for cell in row]
