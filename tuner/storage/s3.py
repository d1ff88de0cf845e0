"""Whole files below a prefix of an object store, `s3://BUCKET/PREFIX`: the same interface as a folder on disk."""

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
from tuner.storage.local import Storage

T = TypeVar("T")

SIDE_BY_SIDE = 16
"""Requests that are under way at once where many files are read, moved or removed."""
CONNECT_SECONDS = 5.0
"""An endpoint that does not answer for so long cannot be reached; a request is tried three times."""
_DENIED = "ACCESS_DENIED|INVALID_ACCESS_KEY|INVALID_CLIENT_TOKEN|SIGNATURE|EXPIRED_TOKEN|status 40[13]"


class StoreError(StudyError, OSError):
    """The object store refuses a request or cannot be reached; the same request may do later."""


class ObjectStorage(Storage):
    """Files by relative name below `s3://BUCKET/PREFIX`, through pyarrow.

    Endpoint, region and credentials come from where AWS's own tools have them: `AWS_ENDPOINT_URL_S3` or
    `AWS_ENDPOINT_URL`, `AWS_REGION`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, the files in
    `~/.aws`, or the machine's role. They are not passed on: every machine that trains needs them itself.

    An object appears at once or not at all. What a killed writer leaves of a large one is never seen; a rule of the
    bucket that aborts incomplete multipart uploads gives its space back. Whatever the store refuses is a `StoreError`,
    one line with the remedy; a file that is not there is a FileNotFoundError, as on disk.
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
        """The connection, made when it is first needed; a StoreError where there is no such bucket."""
        from pyarrow import fs  # loads AWS's library

        files = fs.S3FileSystem(
            endpoint_override=_endpoint(),
            region=os.environ.get("AWS_REGION") or None,
            connect_timeout=CONNECT_SECONDS,
            allow_delayed_open=True,
        )
        with self._explained():
            found = files.get_file_info(self._bucket)
        if found.type == fs.FileType.NotFound:
            raise StoreError(self._say("NO_SUCH_BUCKET"))
        return files

    def _key(self, name: str) -> str:
        return f"{self._root}/{name}".rstrip("/")

    def create(self) -> None:
        """Make sure that objects can be written and removed here; a StoreError where they cannot."""
        self.clock()

    def clock(self) -> datetime:
        """The time by the store's own clock, in seconds: that of an object written and removed for it."""
        probe = f".tmp-{uuid.uuid4().hex}"
        self.write(probe, b"")
        written = self.modified_at(probe)
        self.remove(probe)
        return written

    def modified_at(self, name: str) -> datetime:
        """When a file was written, by the store's clock; FileNotFoundError where there is none."""
        with self._explained():
            at: datetime | None = self._files.get_file_info(self._key(name)).mtime
        if at is None:
            raise FileNotFoundError(self.path(name))
        return at

    def refuse_writes(self, why: str) -> None:
        """From now on raise a StudyError instead of writing: this process has lost the study to another."""
        self._refusal = why

    def check_writable(self) -> None:
        """Raise a StudyError where this process has lost the study to another."""
        if self._refusal is not None:
            raise StudyError(self._refusal)

    def path(self, name: str) -> str:
        """The URL of a file, for messages."""
        return f"{self}/{name}"

    def exists(self, name: str) -> bool:
        """Whether there is such a file, or any below such a folder."""
        with self._explained():
            return bool(self._files.get_file_info(self._key(name)).type)

    def read(self, name: str) -> bytes:
        """The contents of a file; FileNotFoundError where there is none."""
        key = self._key(name)
        while True:
            with self._explained(), self._files.open_input_file(key) as file:
                content: bytes = file.read_at(file.size(), 0)  # one request: those of a stream may meet two versions
                if self._files.get_file_info(key).size == len(content):
                    return content

    def write(self, name: str, content: bytes) -> None:
        """Write a whole file: an object is there, whole, when the store has confirmed it."""
        self.check_writable()
        with self._explained(), self._files.open_output_stream(self._key(name)) as file:
            file.write(content)

    def names(self, folder: str, suffix: str = "") -> list[str]:
        """Files directly below a folder with this ending, sorted."""
        found = sorted(info.base_name for info in self._below(folder) if info.is_file)
        return [f"{folder}/{name}" for name in found if name.endswith(suffix)]

    def folders(self) -> list[str]:
        """Folders directly below this one, sorted."""
        return sorted(info.base_name for info in self._below("") if not info.is_file)

    def _below(self, folder: str, *, recursive: bool = False) -> list[Any]:
        from pyarrow import fs

        with self._explained():
            selector = fs.FileSelector(self._key(folder), allow_not_found=True, recursive=recursive)
            found: list[Any] = self._files.get_file_info(selector)
        return found

    def each(self, do: Callable[[str], T], names: Iterable[str]) -> list[T]:
        """Do something with each of many files, side by side: each takes a round trip."""
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            return [*pool.map(do, names)]

    def remove(self, name: str) -> None:
        """Remove a file, if there is one, and its folder, if it was the last."""
        self.check_writable()
        with suppress(FileNotFoundError), self._explained():
            self._files.delete_file(self._key(name))
        folder = name.rpartition("/")[0]
        if folder and not self._below(folder):
            with suppress(FileNotFoundError), self._explained():
                self._files.delete_dir(self._key(folder))

    def rename(self, old: str, new: str) -> None:
        """Give a file another name: it is copied by the store, then removed."""
        self.check_writable()
        with self._explained():
            self._files.move(self._key(old), self._key(new))

    def move_aside(self, ending: str) -> str:
        """Give all files another prefix, this one with an ending; returns where they are.

        The study's own file goes last: after a move that was cut short, this is still the study, and is moved again.
        """
        self.check_writable()
        files = [info.path.removeprefix(f"{self._root}/") for info in self._below("", recursive=True) if info.is_file]
        files = [name for name in files if name != "study.yaml" and not name.startswith(".")]

        def move(name: str) -> None:
            with self._explained():
                self._files.move(self._key(name), f"{self._root}{ending}/{name}")

        self.each(move, files)
        move("study.yaml")
        return f"{self}{ending}"

    def remove_all(self) -> None:
        """Remove all files below the prefix, as far as that can be done."""
        with suppress(OSError), self._explained():
            self._files.delete_dir(self._root)

    def sweep(self) -> None:
        """Nothing to sweep: what killed writers leave has no name."""

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """What pyarrow raises becomes one line for people; a file that is not there stays what it is."""
        try:
            yield
        except (FileNotFoundError, StudyError):
            raise
        except (OSError, pa.ArrowException) as error:
            raise StoreError(self._say(str(error))) from error

    def _say(self, error: str) -> str:
        """The place, what is wrong there, and the remedy."""
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
