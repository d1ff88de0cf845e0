"""Whole files below a prefix of an object store, `s3://BUCKET/PREFIX`."""

import os
import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pyarrow as pa

from tuner.errors import StudyError
from tuner.storage.local import Storage, StoreError, is_own

T = TypeVar("T")

PARALLEL_REQUESTS = 16
"""Requests at once while many files are read, moved or removed."""
CONNECT_SECONDS = 5.0
"""Seconds to wait for an endpoint at each of three tries."""
_DENIED = "ACCESS_DENIED|INVALID_ACCESS_KEY|INVALID_CLIENT_TOKEN|SIGNATURE|EXPIRED_TOKEN|status 40[13]"


class ObjectStorage(Storage):
    """Files below `s3://BUCKET/PREFIX` by relative name, through pyarrow.

    Endpoint, region and credentials are read as AWS's own tools read them: from
    `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL`, `AWS_REGION`, `AWS_ACCESS_KEY_ID`,
    `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, the files in `~/.aws`, or the machine's role. They
    are not passed on: every machine that trains needs its own.

    An object appears whole or not at all. Parts of a large object that a killed writer uploaded
    stay invisible; a bucket rule that aborts incomplete multipart uploads frees their space.

    Raises:
        StoreError: The store refuses a request; the message is one line with the remedy.
        FileNotFoundError: A file does not exist, as on disk.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise StudyError(
                f"results: {parts.scheme}://…: only BUCKET/PREFIX may follow; endpoint and credentials are taken from "
                "AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        if parts.scheme != "s3" or not parts.netloc:
            raise StudyError(f"results: found '{url}'; allowed: a folder, or s3://BUCKET/PREFIX")
        self._bucket = parts.netloc
        self._root = "/".join([parts.netloc, *filter(None, parts.path.split("/"))])
        self._refusal: str | None = None

    def __str__(self) -> str:
        return f"s3://{self._root}"

    @cached_property
    def _files(self) -> Any:
        """Connect at the first request.

        Raise StoreError if the bucket does not exist.
        """
        from pyarrow import fs  # loads AWS's library

        files = fs.S3FileSystem(
            endpoint_override=_endpoint(),
            region=os.environ.get("AWS_REGION") or None,
            connect_timeout=CONNECT_SECONDS,
            allow_delayed_open=True,
        )
        with self._explain_errors():
            found = files.get_file_info(self._bucket)
        if found.type == fs.FileType.NotFound:
            raise StoreError(self._explain("NO_SUCH_BUCKET"))
        return files

    def _key(self, name: str) -> str:
        return f"{self._root}/{name}".rstrip("/")

    def create(self) -> None:
        """Write and remove an object. Raise StoreError if that is not possible."""
        self.clock()

    def clock(self) -> datetime:
        """Return the time of the store's own clock, in whole seconds.

        It is the time of an object that is written and removed.
        """
        probe = f".tmp-{uuid.uuid4().hex}"
        self.write(probe, b"")
        written = self.modified_at(probe)
        self.remove(probe)
        return written

    def modified_at(self, name: str) -> datetime:
        """Return when a file was written, by the store's clock.

        Raises:
            FileNotFoundError: It does not exist.
        """
        with self._explain_errors():
            at: datetime | None = self._files.get_file_info(self._key(name)).mtime
        if at is None:
            raise FileNotFoundError(self.path(name))
        return at

    def refuse_writes(self, why: str) -> None:
        """Raise StudyError at every later write, because another process has the study."""
        self._refusal = why

    def check_writable(self) -> None:
        """Raise StudyError if another process has taken the study over."""
        if self._refusal is not None:
            raise StudyError(self._refusal)

    def check_kind(self, name: str, *, is_folder: bool) -> None:
        """Do nothing, because objects and prefixes of one name do not conflict."""

    def path(self, name: str) -> str:
        """Return the URL of a file, for messages."""
        return f"{self}/{name}"

    def exists(self, name: str) -> bool:
        """Return True if the file exists, or any file below the folder."""
        with self._explain_errors():
            return bool(self._files.get_file_info(self._key(name)).type)

    def read(self, name: str) -> bytes:
        """Return the contents of a file.

        Raise FileNotFoundError if it does not exist.
        """
        key = self._key(name)
        while True:
            with self._explain_errors(), self._files.open_input_file(key) as file:
                # One request, because those of a stream may meet two versions.
                content: bytes = file.read_at(file.size(), 0)
                if self._files.get_file_info(key).size == len(content):
                    return content

    def write(self, name: str, content: bytes) -> None:
        """Write a whole file, which exists once the store has confirmed it."""
        self.check_writable()
        with self._explain_errors(), self._files.open_output_stream(self._key(name)) as file:
            file.write(content)

    def names(self, folder: str, suffix: str = "") -> list[str]:
        """List the files directly below a folder that end in `suffix`, sorted."""
        found = sorted(info.base_name for info in self._below(folder) if info.is_file)
        return [f"{folder}/{name}" for name in found if name.endswith(suffix)]

    def entries(self) -> list[str]:
        """List what others have directly below the root, sorted."""
        return sorted(info.base_name for info in self._below("") if not is_own(info.base_name))

    def folders(self) -> list[str]:
        """List the folders directly below the root, sorted."""
        return sorted(info.base_name for info in self._below("") if not info.is_file)

    def _below(self, folder: str, *, recursive: bool = False) -> list[Any]:
        from pyarrow import fs

        with self._explain_errors():
            selector = fs.FileSelector(self._key(folder), allow_not_found=True, recursive=recursive)
            found: list[Any] = self._files.get_file_info(selector)
        return found

    def each(self, function: Callable[[str], T], names: Iterable[str]) -> list[T]:
        """Call a function with each name in parallel."""
        with ThreadPoolExecutor(PARALLEL_REQUESTS) as pool:
            return [*pool.map(function, names)]

    def remove(self, name: str) -> None:
        """Remove a file if it exists.

        Its folder is removed too if it is then empty.
        """
        self.check_writable()
        with suppress(FileNotFoundError), self._explain_errors():
            self._files.delete_file(self._key(name))
        folder = name.rpartition("/")[0]
        if folder and not self._below(folder):
            with suppress(FileNotFoundError), self._explain_errors():
                self._files.delete_dir(self._key(folder))

    def rename(self, old: str, new: str) -> None:
        """Rename a file: the store copies it and removes the old one."""
        self.check_writable()
        with self._explain_errors():
            self._files.move(self._key(old), self._key(new))

    def move_aside(self, ending: str) -> str:
        """Append an ending to the prefix of all files.

        Return the new URL. `study.yaml` moves last, so that a move that was cut short can be
        repeated.
        """
        self.check_writable()
        files = [info.path.removeprefix(f"{self._root}/") for info in self._below("", recursive=True) if info.is_file]
        files = [name for name in files if name != "study.yaml" and not name.startswith(".")]

        def move(name: str) -> None:
            with self._explain_errors():
                self._files.move(self._key(name), f"{self._root}{ending}/{name}")

        self.each(move, files)
        move("study.yaml")
        return f"{self}{ending}"

    def sweep(self) -> None:
        """Do nothing, because killed writers leave no visible files."""

    @contextmanager
    def _explain_errors(self) -> Iterator[None]:
        """Turn pyarrow's errors, but for FileNotFoundError, into a StoreError."""
        try:
            yield
        except (FileNotFoundError, StudyError):
            raise
        except (OSError, pa.ArrowException) as error:
            raise StoreError(self._explain(str(error))) from error

    def _explain(self, error: str) -> str:
        """Write the message of an error: place, reason, remedy."""
        at = _endpoint() or "AWS"
        if "NO_SUCH_BUCKET" in error:
            return f"{self}: there is no bucket '{self._bucket}' at {at}; make it, or correct --results"
        if "NETWORK_CONNECTION" in error or "REQUEST_TIMEOUT" in error:
            return f"{self}: {at} cannot be reached; check AWS_ENDPOINT_URL and the network"
        if re.search(_DENIED, error):
            what = "check them and their permissions" if "AWS_ACCESS_KEY_ID" in os.environ else "set them"
            return f"{self}: {at} denies access; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: {what}"
        if "status 301" in error or "PERMANENT_REDIRECT" in error:
            return f"{self}: the bucket is in another region; set AWS_REGION to it"
        return f"{self}: {at} refuses: {error.splitlines()[0]}"


def _endpoint() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None
