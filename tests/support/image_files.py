"""Small data sets that tests write to disk, in the layouts that people have."""

import io
import json
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

TEN = np.arange(10)


def noise(count: int, *shape: int, seed: int = 0) -> Pixels:
    """Random uint8 images, (count, *shape)."""
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def png(pixels: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def write_png(path: Path, pixels: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(pixels))


def write_folder(place: Path, part: str, classes: Sequence[str], per_class: int, *shape: int) -> Pixels:
    """Write `place/part/<class>/<i>.png` and return the pixels in that order."""
    written = []
    for number, name in enumerate(classes):
        for i, pixels in enumerate(noise(per_class, *shape, seed=number + (100 if part == "test" else 0))):
            write_png(place / part / name / f"{i}.png", pixels)
            written.append(pixels)
    return np.stack(written)


def write_parquet(
    path: Path,
    images: Iterable[Pixels],
    labels: Iterable[object],
    names: Iterable[str] | None = None,
    column: str = "image",
    label_column: str = "label",
    label_type: pa.DataType | None = None,
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [{"bytes": png(image), "path": None} for image in images]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({column: pa.array(cells, kind), label_column: pa.array(labels, label_type or pa.int64())})
    if names is not None:
        features = {column: {"_type": "Image"}, "label": {"names": list(names), "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path)


def write_idx(path: Path, values: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}i", *values.shape)
    path.write_bytes(header + values.astype(np.uint8).tobytes())


def write_mnist(place: Path, train: NDArray[Any], test: NDArray[Any]) -> None:
    """Write MNIST's four files, with labels 0 to 9 repeated."""
    for part, images in (("train", train), ("t10k", test)):
        write_idx(place / f"{part}-images-idx3-ubyte", images)
        write_idx(place / f"{part}-labels-idx1-ubyte", np.resize(TEN, len(images)))


def python2_batch(rows: Pixels, labels: Iterable[int]) -> bytes:
    """Pickle a batch of CIFAR-10 as Python 2 did, opcode by opcode."""
    return b"".join(
        (
            b"\x80\x02}(U\x04data",
            b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R",
            b"(K\x01M" + struct.pack("<H", rows.shape[0]) + b"M" + struct.pack("<H", rows.shape[1]) + b"\x86",
            b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb",
            b"\x89T" + struct.pack("<i", rows.size) + rows.tobytes() + b"tb",
            b"U\x06labels](" + b"".join(b"K" + bytes([label]) for label in labels) + b"eu.",
        )
    )


def write_cifar10(place: Path, batches: Pixels) -> None:
    """Write CIFAR-10's six files of images (6, n, 3, 32, 32), with labels 0 to 9."""
    place.mkdir(parents=True, exist_ok=True)
    for name, images in zip([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"], batches, strict=True):
        (place / name).write_bytes(python2_batch(images.reshape(len(images), -1), np.resize(TEN, len(images))))
