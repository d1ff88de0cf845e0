"""`predict`: classes of image files, by a study's model or an exported one."""

import heapq
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from csv import writer
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from tuner.cli.completion import complete_study
from tuner.cli.formats import Csv, Json, choose_format
from tuner.cli.options import Data, Results
from tuner.cli.show import find_study
from tuner.cli.streams import check_output
from tuner.cli.tables import DEFAULT_RESULTS, err, out, print_table
from tuner.errors import DataError, printable, shorten

if TYPE_CHECKING:  # because torch takes seconds
    from tuner.training.image_model import ImageModel
    from tuner.training.prediction import Prediction, Unreadable

MOST_ROWS = 1000
"""Rows of the table in a terminal."""
MOST_UNREADABLE = 10
"""Unreadable files to name."""
MOST_CLASSES = 10
"""Classes to count in the line below the table."""
ON_SHEET = 40
"""Images on the contact sheet."""


def predict(
    model: Annotated[
        str,
        typer.Argument(
            metavar="STUDY|MODEL",
            help="A study, an exported file, or the folder of a final model.",
            autocompletion=complete_study,
        ),
    ],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE…", help="Image files, or folders of them.")],
    csv: Csv = False,
    as_json: Json = False,
    top: Annotated[int, typer.Option("--top", min=1, help="How many of the likeliest classes are shown.")] = 3,
    sheet: Annotated[
        Path | None,
        typer.Option("--contact-sheet", metavar="FILE.png", help="Write a picture of the least certain images."),
    ] = None,
    results: Results = DEFAULT_RESULTS,
    data: Data = None,
) -> None:
    """Print the likeliest classes of images, with probabilities."""
    chosen = choose_format(csv, as_json, markdown=False)
    from tuner.data.contact_sheet import check_sheet

    check_sheet(sheet, "--contact-sheet")

    from tuner.training.prediction import check_paths, list_images, predict_files  # late, because torch takes seconds

    check_paths(images)
    loaded = _load(model, results, data)
    watched = _Watched(predict_files(loaded, list_images(images), top))
    write = {"csv": _write_csv, "json": _write_json}.get(chosen or "", _print_rows)
    write(iter(watched), min(top, len(loaded.classes)))
    if sheet is not None:
        watched.write_sheet(sheet)
    if write is _print_rows:
        _say(watched.summary(), out.print)
        _say(f"Network: {loaded.about.summary}", out.print)
    else:
        check_output()
    watched.exit_if_unreadable()


def _load(name: str, results: str, data: Path | None) -> "ImageModel":
    """Load the model of a study, a file or a folder."""
    from tuner.results.folder import StudyResults
    from tuner.training.exported import load_model
    from tuner.training.formats import format_of

    path = Path(name)
    if path.is_file() or any(True for depth in ("", "*/") for _ in path.glob(f"{depth}model.json")):
        return load_model(path)
    if format_of(path) and not Path(results, name).is_dir():
        raise DataError(f"{path}: no such file; `tuner export` writes one")
    folder = find_study(name, results)

    from tuner.study.kept_model import load_best

    return load_best(StudyResults(folder, folder.spec()), None, data)


class _Watched:
    """Predictions on their way to the output, of which little is kept.

    Args:
        found: The predictions.
    """

    def __init__(self, found: "Iterable[Prediction | Unreadable]") -> None:
        self._found = found
        self._count = 0
        self._classes: Counter[str] = Counter()
        self._unreadable = 0
        self._uncertain: list[tuple[float, int, Prediction]] = []

    def __iter__(self) -> "Iterator[Prediction]":
        from tuner.training.prediction import Unreadable

        for found in self._found:
            if isinstance(found, Unreadable):
                self._unreadable += 1
                if self._unreadable <= MOST_UNREADABLE:
                    _say(found.reason, err.print)
                continue
            self._count += 1
            name, probability = found.classes[0]
            self._classes[name] += 1
            entry = (-probability, -self._count, found)
            if len(self._uncertain) < ON_SHEET:
                heapq.heappush(self._uncertain, entry)
            else:
                heapq.heappushpop(self._uncertain, entry)
            yield found

    def summary(self) -> str:
        """Count the images by class."""
        named = [f"{name}: {count:,}" for name, count in self._classes.most_common(MOST_CLASSES)]
        more = len(self._classes) - MOST_CLASSES
        counts = ", ".join(named) + (f" and {more:,} more classes" if more > 0 else "")
        return f"Images: {self._count:,}" + (f" ({counts})" if counts else "")

    def write_sheet(self, path: Path) -> None:
        """Write a picture of the least certain images, if there are any.

        The least certain image comes first.
        """
        if not self._uncertain:
            return
        from tuner.data.contact_sheet import Captioned, draw_captioned, write_sheet

        entries = sorted(self._uncertain, reverse=True)
        shown = [
            Captioned(row.pixels, f"{shorten(row.classes[0][0], 12)} ({-entry:.2f})", row.file.name)
            for entry, _, row in entries
        ]
        title = f"The {len(shown)} least certain of {self._count:,} images, with the probability of their class"
        write_sheet(draw_captioned(title, shown), path)
        _say(f"Written: {path}", err.print)

    def exit_if_unreadable(self) -> None:
        """Exit with 1 if an image could not be read."""
        if self._unreadable:
            more = self._unreadable - MOST_UNREADABLE
            unnamed = f", {more:,} of them not named" if more > 0 else ""
            _say(f"Images left out: {self._unreadable:,}{unnamed}", err.print)
            raise typer.Exit(1)


def _print_rows(found: "Iterator[Prediction]", top: int) -> None:
    """Print a table, at most `MOST_ROWS` rows of it."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("image", overflow="fold")
    for rank in range(top):
        table.add_column(_title("class", rank, top), overflow="fold")
        table.add_column(_title("probability", rank, top), justify="right", no_wrap=True)
    for row in islice(found, MOST_ROWS):
        cells = [cell for name, value in row.classes for cell in (printable(name), f"{value:.4f}")]
        table.add_row(*map(Text, (printable(str(row.file)), *cells)))
    print_table(table)
    if more := sum(1 for _ in found):
        _say(f"… and {more:,} more images; --csv and --json list all", out.print)


def _title(name: str, rank: int, top: int) -> str:
    return name if top == 1 else f"{name} {rank + 1}"


def _write_csv(found: "Iterator[Prediction]", top: int) -> None:
    """Write a line per image, as the images are predicted."""
    lines = writer(sys.stdout, lineterminator="\n")
    lines.writerow(["image", *(f"{name}_{rank}" for rank in range(1, top + 1) for name in ("class", "probability"))])
    for row in found:
        lines.writerow([_path(row.file), *(cell for name, value in row.classes for cell in (name, value))])


def _write_json(found: "Iterator[Prediction]", top: int) -> None:  # noqa: ARG001 because each row has its classes
    """Write a list of objects, as the images are predicted."""
    separator = "["
    for row in found:
        classes = [{"class": name, "probability": value} for name, value in row.classes]
        sys.stdout.write(f"{separator}\n{json.dumps({'image': _path(row.file), 'predictions': classes})}")
        separator = ","
    sys.stdout.write("[]\n" if separator == "[" else "\n]\n")


def _path(file: Path) -> str:
    """Return a path as valid UTF-8."""
    return str(file).encode("utf-8", "backslashreplace").decode()


def _say(text: str, write: "Callable[..., None]") -> None:
    write(printable(text), markup=False, highlight=False, soft_wrap=True)
