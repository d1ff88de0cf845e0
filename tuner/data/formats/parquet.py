"""Images in Parquet files, as hubs publish them: `image: struct<bytes, path>`, `label: int64`."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tuner.config.validation_messages import shown
from tuner.data import progress
from tuner.data.class_names import all_spelled, differing, in_order, spelled
from tuner.data.dataset import Decoded, Part, reason
from tuner.data.decoding import decode_all
from tuner.data.formats.shards import Files
from tuner.data.labels import checked_label, numbered
from tuner.errors import DataError, suggest

if TYPE_CHECKING:  # loaded on a cache miss only
    import pyarrow as pa
    import pyarrow.parquet as pq

IMAGE_COLUMNS = ("image", "img")


class Columns(NamedTuple):
    """Columns of images and labels. None: one of IMAGE_COLUMNS."""

    image: str | None = None
    label: str = "label"


DEFAULT_COLUMNS = Columns()


def read(
    files: Files,
    image_size: int | None,
    classes: tuple[str, ...] = (),
    columns: Columns = DEFAULT_COLUMNS,
) -> Decoded:
    """Decode Parquet files in the order of files and rows.

    Args:
        files: The files.
        image_size: Pixels to resize both sides to; None keeps the size.
        classes: Class names if the files' metadata has none. Without both they are '0', '1', …
            Files whose metadata names the classes in another order are brought into one. Labels
            that are text are the names.
        columns: Columns of images and labels.

    Raises:
        DataError: A file or an image is unreadable, a column is missing, or a label is out of
            range.
    """
    texts = _text_labels(files.all, columns)
    own = {path: () if texts else _class_names(path, columns) for path in files.all}
    names = tuple(in_order({*texts.values()})) or next(filter(None, own.values()), classes)
    orders = {path: _order(path, own[path], names) for path in own}
    numbers = {text: names.index(name) for text, name in texts.items()}

    def label_of(path: Path, label: int | str | None, origin: str) -> int:
        if isinstance(label, str):
            return numbers[label]
        number, order = checked_label(label, len(names), origin), orders[path]
        return number if order is None else order[number]

    train = [*files.train, *files.validation]
    train_part = _part(train, image_size, columns, label_of)
    names = names or numbered(train_part.labels, train[0])
    test_part = _part(files.test, image_size, columns, label_of) if files.test else None
    row_names, apart = _row_names(train), len(_row_names(files.validation))
    return Decoded(names, train_part, test_part, (row_names, _row_names(files.test)), apart)


def _text_labels(paths: Sequence[Path], columns: Columns) -> dict[str, str]:
    """Return the class name of each text label.

    The result is empty if the labels are numbers.

    Raises:
        DataError: Labels are text in some files only.
    """
    texts: dict[str, str] = {}
    are_text: list[bool] = []
    for path in paths:
        with _opened(path) as file:
            _check_columns(path, file, columns)
            are_text.append(_is_text(file.schema_arrow.field(columns.label).type))
        if are_text[-1] != are_text[0]:
            here, there = ("text", "numbers") if are_text[-1] else ("numbers", "text")
            raise DataError(f"{path}: column {shown(columns.label)} is {here}, but {there} in {paths[0]}")
        if are_text[-1]:
            texts |= {text: spelled(text, str(path)) for text in {*read_column([path], columns.label)}}
    return texts


def _is_text(kind: "pa.DataType") -> bool:
    """Return True if a type is text, or categories of text."""
    import pyarrow.types as kinds

    kind = kind.value_type if kinds.is_dictionary(kind) else kind
    return bool(kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind))


def _row_names(paths: Sequence[Path]) -> list[str]:
    """Name each row by its file and number."""
    names: list[str] = []
    for path in paths:
        with _opened(path) as file:
            names += [f"{path.name}: row {row}" for row in range(file.metadata.num_rows)]
    return names


def read_column(paths: Sequence[Path], column: str) -> list[str]:
    """Read a column of text or whole numbers as text.

    Values are in the order of files and rows.

    Raises:
        DataError: A file is unreadable, has no such column, or a row has no value.
    """
    import pyarrow as pa

    values: list[str] = []
    for path in paths:
        with _opened(path) as file:
            if column not in file.schema_arrow.names:
                raise DataError(f"{path}: no column {shown(column)}; {suggest(column, file.schema_arrow.names)}")
            kind = file.schema_arrow.field(column).type
            if not (pa.types.is_integer(kind) or _is_text(kind)):
                raise DataError(f"{path}: column {shown(column)} is {kind}; allowed: text, whole numbers")
            cells = file.read([column]).column(column).to_pylist()
        if None in cells:
            raise DataError(f"{path}: row {cells.index(None)}: no value in column {shown(column)}")
        values += map(str, cells)
    return values


def _order(path: Path, own: tuple[str, ...], names: tuple[str, ...]) -> list[int] | None:
    """Return the data set's label of each class that a file names.

    The classes of files may differ. The result is None for a file without names.

    Raises:
        DataError: The file names a class that the others lack, or lacks one.
    """
    if not own:
        return None
    if odd := differing(own, names):
        raise DataError(f"{path}: class {odd}, which the first file of the data set does not name")
    if odd := differing(names, own):
        raise DataError(f"{path}: no class {odd}, which the first file of the data set names")
    return [names.index(name) for name in own]


@contextmanager
def _opened(path: Path) -> Iterator["pq.ParquetFile"]:
    """Open a Parquet file, raising DataError for what goes wrong with it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    progress.report(path)
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except UnicodeEncodeError as error:  # because Arrow takes no other names
        raise DataError(f"{path}: its name is not UTF-8; rename the file or folder") from error
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: no readable Parquet file ({reason(error)})") from error


def _class_names(path: Path, columns: Columns) -> tuple[str, ...]:
    """Return the class names in the file's `huggingface` metadata, if any."""
    with _opened(path) as file:
        metadata = file.schema_arrow.metadata or {}
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        names = [str(name) for name in features[columns.label]["names"]]
    except (KeyError, TypeError, ValueError):
        return ()
    return all_spelled(names, str(path))


def _part(
    paths: Sequence[Path],
    image_size: int | None,
    columns: Columns,
    label_of: Callable[[Path, int | str | None, str], int],
) -> Part:
    """Decode and check the rows of one part.

    Labels follow the class order of the data set.
    """
    labels: list[int] = []

    def checked() -> Iterator[tuple[bytes, str]]:
        for path in paths:
            for row, (image, label) in enumerate(_rows(path, columns)):
                origin = f"{path}: row {row}"
                if image is None:
                    raise DataError(f"{origin}: no bytes of an image; allowed: the encoded file, not its path alone")
                labels.append(label_of(path, label, origin))
                yield image, origin

    images = decode_all(checked(), image_size)
    if not labels:
        raise DataError(f"{paths[0]}: holds no images")
    return Part(images, np.array(labels, np.int64))


def _rows(path: Path, columns: Columns) -> Iterator[tuple[bytes | None, int | str | None]]:
    """Yield encoded image and label per row, with 1,024 rows in memory."""
    with _opened(path) as file:
        image, is_struct = _check_columns(path, file, columns)
        wanted = [f"{image}.bytes" if is_struct else image, columns.label]
        for batch in file.iter_batches(1024, columns=wanted):
            cells = batch.column(image)
            images = cells.field("bytes") if is_struct else cells
            yield from zip(images.to_pylist(), batch.column(columns.label).to_pylist(), strict=True)


def encoded(paths: Sequence[Path], columns: Columns = DEFAULT_COLUMNS) -> Iterator[tuple[str, bytes]]:
    """Yield the name and encoded file of each image.

    Images are in the order of files and rows.
    """
    for path in paths:
        for row, (image, _) in enumerate(_rows(path, columns)):
            yield f"{path.name}: row {row}", image or b""


def _check_columns(path: Path, file: "pq.ParquetFile", columns: Columns) -> tuple[str, bool]:
    """Check the columns of images and labels.

    Returns:
        Name of the column of images, and True if the column is a struct with `bytes`.
    """
    import pyarrow.types as kinds

    schema = file.schema_arrow
    if twice := [name for name in schema.names if schema.names.count(name) > 1]:
        raise DataError(f"{path}: {schema.names.count(twice[0])} columns '{twice[0]}'; allowed: each name once")
    found = f"its columns: {', '.join(schema.names)}"
    allowed = (columns.image,) if columns.image else IMAGE_COLUMNS
    image = next((name for name in allowed if name in schema.names), None)
    if image is None:
        raise DataError(f"{path}: no column {' or '.join(map(shown, allowed))}; {found}; dataset.image names it")
    if columns.label not in schema.names:
        raise DataError(f"{path}: no column {shown(columns.label)}; {found}; dataset.label names it")
    label = schema.field(columns.label).type
    if not (kinds.is_integer(label) or _is_text(label)):
        allowed_kinds = "integers, one for each class from 0, or text"
        raise DataError(f"{path}: column {shown(columns.label)} is {label}; allowed: {allowed_kinds}")
    kind = schema.field(image).type
    if kinds.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        return image, True
    if kinds.is_binary(kind) or kinds.is_large_binary(kind):
        return image, False
    raise DataError(f"{path}: column '{image}' is {kind}; allowed: struct<bytes: binary, path: string>, binary")
