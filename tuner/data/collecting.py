"""Images that are collected while a data set is decoded: in memory, or in a file if they may be larger."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from tuner.data import progress

Pixels = NDArray[np.uint8]

CHUNK_BYTES = 16 << 20
"""Bytes of images that are copied at once."""
_folder: ContextVar[Path | None] = ContextVar("folder", default=None)


@contextmanager
def on_disk(folder: Path) -> Iterator[None]:
    """Keep the images that this block decodes in temporary files.

    The files are on the disk of `folder`. They have no name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    token = _folder.set(folder)
    try:
        yield
    finally:
        _folder.reset(token)


def new_array(shape: tuple[int, ...]) -> Pixels:
    """Return a new array for images.

    Inside of `on_disk` the array is a mapped file.
    """
    folder = _folder.get()
    if folder is None or 0 in shape:
        return np.empty(shape, np.uint8)
    with TemporaryFile(dir=folder) as file:  # which the map keeps
        return np.memmap(file, np.uint8, "w+", shape=shape)


def chunks(images: Pixels) -> Iterator[slice]:
    """Yield slices of images of about CHUNK_BYTES, and report progress."""
    step = max(1, CHUNK_BYTES // max(1, images[:1].nbytes))
    for start in range(0, len(images), step):
        progress.report()
        yield slice(start, start + step)


def taken(images: Pixels, indices: NDArray[np.int64]) -> Pixels:
    """Return the images at some positions."""
    chosen = new_array((len(indices), *images.shape[1:]))
    for part in chunks(chosen):
        chosen[part] = images[indices[part]]
    return chosen


class Collector:
    """Images of one size that are added one by one.

    Use the collector in a `with` block, which closes its file. Arrays that it has returned stay
    valid.
    """

    def __init__(self) -> None:
        folder = _folder.get()
        self._file: IO[Any] | None = None
        if folder is not None:
            self._file = TemporaryFile(dir=folder)  # noqa: SIM115 because `__exit__` closes it
        self._pending: list[Pixels] = []
        self._pending_bytes = 0
        self._chunks: list[Pixels] = []
        self._shapes: list[tuple[int, ...]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, picture: Pixels) -> None:
        """Add an image.

        Args:
            picture: (H, W) if gray, (H, W, 3) if colored.
        """
        self._pending.append(picture)
        self._pending_bytes += picture.nbytes
        if self._pending_bytes >= CHUNK_BYTES:
            self._flush()

    def stacked(self) -> Pixels:
        """Return all images, (N, C, H, W).

        C is 1 if all images are gray, else 3.
        """
        self._flush()
        if not self._shapes:
            return np.empty((0, 1, 0, 0), np.uint8)
        shape = (sum(shape[0] for shape in self._shapes), max(shape[1] for shape in self._shapes), *self._shapes[0][2:])
        if self._file is not None and all(each[1] == shape[1] for each in self._shapes):
            return np.memmap(self._file, np.uint8, "r+", shape=shape)
        if len(self._chunks) == 1:
            return self._chunks[0]
        stacked, start = new_array(shape), 0
        for chunk in self._all():
            progress.report()
            stacked[start : start + len(chunk)] = chunk
            start += len(chunk)
        return stacked

    def _flush(self) -> None:
        """Join the pending images into a chunk.

        If there is a file, the chunk is written to it.
        """
        if not self._pending:
            return
        height, width = self._pending[0].shape[:2]
        channels = 3 if any(picture.ndim == 3 for picture in self._pending) else 1
        chunk = np.empty((len(self._pending), channels, height, width), np.uint8)
        for i, picture in enumerate(self._pending):
            chunk[i] = picture if picture.ndim == 2 else picture.transpose(2, 0, 1)
        self._shapes.append(chunk.shape)
        if self._file is None:
            self._chunks.append(chunk)
        else:
            self._file.write(chunk.data)
            self._file.flush()
        self._pending, self._pending_bytes = [], 0

    def _all(self) -> Iterator[Pixels]:
        """Yield every chunk, and let those in memory go."""
        if self._file is None:
            while self._chunks:
                yield self._chunks.pop(0)
            return
        start = 0
        for shape in self._shapes:
            yield np.memmap(self._file, np.uint8, "r", offset=start, shape=shape)
            start += int(np.prod(shape))
