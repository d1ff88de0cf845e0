"""Whole files below a folder or a prefix of an object store."""

import re
from pathlib import Path

from tuner.storage.local import Storage, StoreError
from tuner.storage.s3 import ObjectStorage

__all__ = ["ObjectStorage", "Storage", "StoreError", "is_url", "open_storage"]


def is_url(path: str | Path) -> bool:
    """Return True if a path is a URL.

    Return False for a path of a file system.
    """
    return "://" in str(path)


def open_storage(root: str | Path) -> Storage:
    """Open the files below a local folder or below `s3://BUCKET/PREFIX`.

    Nothing is read or written yet.

    Raises:
        StudyError: The URL is not one of an object store, or contains credentials.
    """
    text = re.sub(r"^s3:/+", "s3://", str(root))  # because a Path makes one slash of two
    return ObjectStorage(text) if is_url(text) else Storage(root)
