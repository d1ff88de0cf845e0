"""Images in Parquet files, as model hubs publish them: `image: struct<bytes, path>` and `label: int64`."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tuner.data.dataset import Decoded, Part, reason
from tuner.data.decoding import Pixels, decode, stack
from tuner.errors import DataError

if TYPE_CHECKING:  # loaded on a cache miss only
    import pyarrow.parquet as pq

IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMN = "label"


def layout(place: Path) -> tuple[list[Path], list[Path]]:
    """The training and the test files below `place`: one of each, or shards in file-name order; empty: none."""
    return _shards(place, "train"), _shards(place, "test")


def read(train: Sequence[Path], test: Sequence[Path], side: int | None, classes: tuple[str, ...] = ()) -> Decoded:
    """Decode Parquet files in the order of files and rows.

    Args:
        train: files of training images.
        test: files of test images; none where the data set has none.
        side: resize to this side, in pixels; None keeps the size.
        classes: class names, where the files' own metadata has none; without both they are '0', '1', …

    Raises:
        DataError: a file that cannot be read, columns missing, an image that is none, labels out of range.
    """
    named = _class_names(train[0]) or classes
    train_part = _part(train, side, named)
    names = named or _numbered(train_part.labels, train[0])
    return Decoded(names, train_part, _part(test, side, names) if test else None)


def _shards(place: Path, part: str) -> list[Path]:
    for pattern in (f"{part}.parquet", f"data/{part}-*.parquet", f"{part}-*.parquet"):
        if files := sorted(place.glob(pattern)):
            _check_complete(files)
            return files
    return []


def _check_complete(files: list[Path]) -> None:
    """Refuse `train-00000-of-00002.parquet` without its second half: a partial download looks like a small data set."""
    _, of, total = files[-1].stem.rpartition("-of-")
    if of and total.isdigit() and int(total) != len(files):
        raise DataError(f"{files[-1]}: one of {int(total)} files, {len(files)} found beside it")


@contextmanager
def _opened(path: Path) -> Iterator["pq.ParquetFile"]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: no readable Parquet file ({reason(error)})") from error


def _class_names(path: Path) -> tuple[str, ...]:
    """The class names in the file's `huggingface` metadata, or none."""
    with _opened(path) as file:
        metadata = file.schema_arrow.metadata or {}
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[LABEL_COLUMN]["names"])
    except (KeyError, TypeError, ValueError):
        return ()


def _part(paths: Sequence[Path], side: int | None, classes: tuple[str, ...]) -> Part:
    pictures: list[Pixels] = []
    places: list[str] = []
    labels: list[int] = []
    for path in paths:
        for row, (image, label) in enumerate(_rows(path)):
            place = f"{path}: row {row}"
            if image is None:
                raise DataError(f"{place}: no bytes of an image")
            if label is None or label < 0 or (classes and label >= len(classes)):
                allowed = f"0 to {len(classes) - 1}" if classes else "0, 1, 2, …"
                raise DataError(f"{place}: label {label}; allowed: {allowed}")
            pictures.append(decode(image, place, side))
            places.append(place)
            labels.append(label)
    if not pictures:
        raise DataError(f"{paths[0]}: holds no images")
    return Part(stack(pictures, places), np.array(labels, np.int64))


def _rows(path: Path) -> Iterator[tuple[bytes | None, int | None]]:
    """The encoded image and the label of each row, a thousand rows in memory at a time."""
    with _opened(path) as file:
        image = _check_columns(path, file)
        for batch in file.iter_batches(1024, columns=[image, LABEL_COLUMN]):
            cells = batch.column(image.partition(".")[0])
            images = cells.field("bytes") if "." in image else cells
            yield from zip(images.to_pylist(), batch.column(LABEL_COLUMN).to_pylist(), strict=True)


def _check_columns(path: Path, file: "pq.ParquetFile") -> str:
    """The column of encoded images, as `image.bytes` where it is a struct."""
    import pyarrow.types as kinds

    schema = file.schema_arrow
    found = f"its columns: {', '.join(schema.names)}"
    image = next((name for name in IMAGE_COLUMNS if name in schema.names), None)
    if image is None:
        raise DataError(f"{path}: no column '{IMAGE_COLUMNS[0]}' or '{IMAGE_COLUMNS[1]}'; {found}")
    if LABEL_COLUMN not in schema.names:
        raise DataError(f"{path}: no column '{LABEL_COLUMN}'; {found}")
    if not kinds.is_integer(schema.field(LABEL_COLUMN).type):
        raise DataError(f"{path}: column '{LABEL_COLUMN}' is {schema.field(LABEL_COLUMN).type}; allowed: integers")
    kind = schema.field(image).type
    if kinds.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        return f"{image}.bytes"
    if kinds.is_binary(kind) or kinds.is_large_binary(kind):
        return image
    raise DataError(f"{path}: column '{image}' is {kind}; allowed: struct<bytes: binary, path: string>, binary")


def _numbered(labels: np.ndarray[tuple[int], np.dtype[np.int64]], path: Path) -> tuple[str, ...]:
    """Classes '0', '1', … for files that do not name them; each must occur, for a gap is a mistake in the labels."""
    present = np.unique(labels)
    gaps = np.flatnonzero(present != np.arange(len(present)))
    if len(gaps):
        raise DataError(f"{path}: label {gaps[0]} never occurs, {present[-1]} does; allowed: every label from 0 up")
    return tuple(str(label) for label in present)
