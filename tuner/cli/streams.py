"""Standard streams that outlive their readers."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn, TextIO

from tuner.errors import StudyError


class LastingStream(io.TextIOBase):
    """A standard stream whose errors never end the program.

    A pipe that its reader has closed is replaced by the null device. Any other error is ignored,
    and the text waits in the stream's buffer. A full disk may have room again later.

    Args:
        stream: The stream. None, as for a closed standard stream, discards the text.

    Attributes:
        failure: The last error that was ignored, other than a closed pipe.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        """Write as far as the stream allows.

        Returns the length of the text.
        """
        self._attempt("write", text)
        return len(text)

    def flush(self) -> None:
        """Flush as far as the stream allows."""
        self._attempt("flush")

    def fileno(self) -> int:
        """Return the file descriptor."""
        if self._stream is None:
            raise io.UnsupportedOperation("fileno")
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Return True if the stream is a terminal."""
        return self._stream is not None and self._stream.isatty()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The stream's encoding."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """The stream's handling of characters that its encoding lacks."""
        return getattr(self._stream, "errors", None)

    @property
    def buffer(self) -> Any:
        """The stream's binary buffer."""
        return getattr(self._stream, "buffer", None)

    def _attempt(self, method: str, *arguments: str) -> None:
        if self._stream is None:
            return
        try:
            getattr(self._stream, method)(*arguments)
        except BrokenPipeError:
            self.discard()
        except OSError as error:
            self.failure = error

    def discard(self) -> None:
        """Send the stream to the null device from now on."""
        if self._stream is not None:
            with suppress(OSError, ValueError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self._stream.fileno())
                os.close(null)


def outlive_readers() -> None:
    """Make the standard streams outlive their readers and print every character somehow."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # because a terminal may be Latin-1
    sys.stdout, sys.stderr = LastingStream(sys.stdout), LastingStream(sys.stderr)


def check_output() -> None:
    """Raise StudyError if text on standard output was lost.

    Text is lost on a full disk, for example.
    """
    sys.stdout.flush()
    if isinstance(sys.stdout, LastingStream) and (error := sys.stdout.failure):
        raise StudyError(f"standard output: {error.strerror}; what was written is not complete")


def flush_or_discard() -> None:
    """Flush the standard streams, because Python exits with 120 where it cannot."""
    for stream in (sys.__stdout__, sys.__stderr__):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            LastingStream(stream).discard()


def exit_at_once(code: int) -> NoReturn:
    """End the process without Python's own end, which may hang or abort.

    It does so while another thread is in the code of a library, for example in an import of torch.
    """
    flush_or_discard()
    os._exit(code)


@contextmanager
def until_interrupted() -> Iterator[None]:
    """End the process with 0 on Ctrl-C, whatever its threads do."""
    try:
        yield
    except KeyboardInterrupt:
        exit_at_once(0)
