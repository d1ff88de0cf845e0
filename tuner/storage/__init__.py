"""Whole files below one root: a folder, or a prefix of an object store. Nobody ever meets half a file."""

import re
from pathlib import Path

from tuner.storage.local import Storage
from tuner.storage.s3 import ObjectStorage, StoreError

__all__ = ["ObjectStorage", "Storage", "StoreError", "is_url", "open_storage"]


def is_url(place: str | Path) -> bool:
    """Return True if a place is a URL, and no path of a file system."""
    return "://" in str(place)


def open_storage(root: str | Path) -> Storage:
    """Open the files below a local folder or below `s3://BUCKET/PREFIX`.

    Nothing is read or written yet.

    Raises:
        StudyError: A URL that is none of an object store, or that says credentials.
    """
    text = re.sub(r"^s3:/+", "s3://", str(root))  # because a Path makes one slash of two
    return ObjectStorage(text) if is_url(text) else Storage(root)
