"""Images in Parquet files, as hubs publish them: `image: struct<bytes, path>`, `label: int64`."""

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


def layout(root: Path) -> tuple[list[Path], list[Path]]:
    """Return the training and the test files below `root`, shards sorted by name."""
    return _shards(root, "train"), _shards(root, "test")


def read(train: Sequence[Path], test: Sequence[Path], image_size: int | None, classes: tuple[str, ...] = ()) -> Decoded:
    """Decode Parquet files in the order of files and rows.

    Args:
        train: Files of training images.
        test: Files of test images, if any.
        image_size: Pixels to resize both sides to; None keeps the size.
        classes: Class names if the files' metadata has none. Without both they are '0', '1', …

    Raises:
        DataError: A file or an image is unreadable, a column is missing, or a label is out of
            range.
    """
    named = _class_names(train[0]) or classes
    train_part = _part(train, image_size, named)
    names = named or _numbered(train_part.labels, train[0])
    return Decoded(names, train_part, _part(test, image_size, names) if test else None)


def _shards(root: Path, part: str) -> list[Path]:
    """Return the file or the sorted shards of one part below `root`."""
    for pattern in (f"{part}.parquet", f"data/{part}-*.parquet", f"{part}-*.parquet"):
        if files := sorted(root.glob(pattern)):
            _check_complete(files)
            return files
    return []


def _check_complete(files: list[Path]) -> None:
    """Refuse shards with a missing one, because they look like a smaller data set."""
    _, of, total = files[-1].stem.rpartition("-of-")
    if of and total.isdigit() and int(total) != len(files):
        raise DataError(f"{files[-1]}: one of {int(total)} files, {len(files)} found beside it")


@contextmanager
def _opened(path: Path) -> Iterator["pq.ParquetFile"]:
    """Open a Parquet file, raising DataError for what goes wrong with it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: no readable Parquet file ({reason(error)})") from error


def _class_names(path: Path) -> tuple[str, ...]:
    """Return the class names in the file's `huggingface` metadata, if any."""
    with _opened(path) as file:
        metadata = file.schema_arrow.metadata or {}
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[LABEL_COLUMN]["names"])
    except (KeyError, TypeError, ValueError):
        return ()


def _part(paths: Sequence[Path], image_size: int | None, classes: tuple[str, ...]) -> Part:
    """Decode and check the rows of one part."""
    pictures: list[Pixels] = []
    origins: list[str] = []
    labels: list[int] = []
    for path in paths:
        for row, (image, label) in enumerate(_rows(path)):
            origin = f"{path}: row {row}"
            if image is None:
                raise DataError(f"{origin}: no bytes of an image")
            if label is None or label < 0 or (classes and label >= len(classes)):
                allowed = f"0 to {len(classes) - 1}" if classes else "0, 1, 2, …"
                raise DataError(f"{origin}: label {label}; allowed: {allowed}")
            pictures.append(decode(image, origin, image_size))
            origins.append(origin)
            labels.append(label)
    if not pictures:
        raise DataError(f"{paths[0]}: holds no images")
    return Part(stack(pictures, origins), np.array(labels, np.int64))


def _rows(path: Path) -> Iterator[tuple[bytes | None, int | None]]:
    """Yield encoded image and label per row, with 1,024 rows in memory."""
    with _opened(path) as file:
        image = _check_columns(path, file)
        for batch in file.iter_batches(1024, columns=[image, LABEL_COLUMN]):
            cells = batch.column(image.partition(".")[0])
            images = cells.field("bytes") if "." in image else cells
            yield from zip(images.to_pylist(), batch.column(LABEL_COLUMN).to_pylist(), strict=True)


def _check_columns(path: Path, file: "pq.ParquetFile") -> str:
    """Return the name of the column of encoded images: `image.bytes` for a struct."""
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
    """Return classes '0', '1', … for files without names, refusing labels with gaps."""
    present = np.unique(labels)
    gaps = np.flatnonzero(present != np.arange(len(present)))
    if len(gaps):
        raise DataError(f"{path}: label {gaps[0]} never occurs, {present[-1]} does; allowed: every label from 0 up")
    return tuple(str(label) for label in present)
