"""Errors that a user may see, and how their messages are made.

::

    TunerError                     anything this project raises on purpose
    ├── UserError                  the user's mistake: one line, exit code 2, nothing was written
    │   ├── SpecError              a study file that is not valid
    │   ├── DataError              images that are missing, damaged or of the wrong kind
    │   ├── ClusterError           a cluster that cannot be reached, or that cannot run the study
    │   └── StudyError             a study folder that is in use, or holds something else
    │       └── StoreError         an object store that refuses or cannot be reached (`tuner.storage.s3`)
    ├── RayLostError               Ray was killed during a study; the same command resumes it
    │   └── StudyInterruptedError  a signal has ended the study and Ray
    └── TrialError                 one configuration cannot be trained; the study continues
        ├── NotFiniteError         the loss is NaN or infinite
        ├── OutOfMemoryError       the trial does not fit into memory
        ├── OutOfTimeError         the trial takes longer than its budget
        └── DeviceError            a GPU that torch does not see
"""

import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches

INTERRUPTED = 130
"""Exit code of commands that Ctrl-C or SIGTERM ends."""
LONGEST_LINE = 300
"""Characters to show of another library's or module's error."""
LONGEST_NAME = 100
"""Characters of a misspelt name that are compared with the allowed names."""
MOST_NAMES = 40
"""Allowed names to list in a message."""


class TunerError(Exception):
    """Base of every error that this project raises on purpose."""


class UserError(TunerError):
    """A mistake of the user, told in one line.

    Control characters in its text are escaped, because values and names of files may hold them.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(_printable_lines(arg) if isinstance(arg, str) else arg for arg in args))


class SpecError(UserError):
    """A study file that is not valid."""


class DataError(UserError):
    """Images that are missing, damaged or of the wrong kind.

    Names of files and classes may hold any character, so the message is made printable.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class ClusterError(UserError):
    """A cluster that cannot be reached or cannot run the study.

    It may also refuse this client.
    """


class StudyError(UserError):
    """A study folder that is in use, or holds something else."""


class RayLostError(TunerError):
    """Ray was killed during a study. The same command resumes it."""


class StudyInterruptedError(RayLostError):
    """A signal that has ended the study and Ray.

    It went to all processes. The exit code is INTERRUPTED.
    """


class TrialError(TunerError):
    """One configuration that cannot be trained, and that no retry would help."""


class NotFiniteError(TrialError):
    """A loss that is NaN or infinite."""


class OutOfMemoryError(TrialError):
    """A trial that does not fit into the memory of its device."""


class OutOfTimeError(TrialError):
    """A trial that takes longer than its budget."""


class DeviceError(TrialError):
    """A GPU that Ray promised and torch does not see."""


def printable(text: str) -> str:
    r"""Escape characters that a terminal cannot print.

    These are control characters and broken encodings, for example.

    >>> printable("a\nb")
    'a\\nb'
    """
    return "".join(_escaped(sign) if unicodedata.category(sign) in _UNPRINTABLE else sign for sign in text)


_UNPRINTABLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode's categories of signs that are escaped."""


def _escaped(sign: str) -> str:
    return sign.encode("unicode_escape", "backslashreplace").decode()


def _printable_lines(text: str) -> str:
    return text if text.isprintable() else "\n".join(map(printable, text.split("\n")))


def shorten(text: str, length: int = 100) -> str:
    """Cut a text to a number of characters.

    The last character of a cut text is `…`.
    """
    return text if len(text) <= length else f"{text[: length - 1]}…"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, shortened.

    An error without text gives the name of its type.
    """
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return shorten(line, LONGEST_LINE)


def type_and_line(error: BaseException) -> str:
    """Return an error's first line, with its type, as Python prints it."""
    name, line = type(error).__name__, first_line(error)
    return name if line == name else f"{name}: {line}"


def suggest(name: str, known: Iterable[str]) -> str:
    """List the allowed names, the most similar first.

    >>> suggest("adm", ["adam", "sgd"])
    "did you mean 'adam'? allowed: adam, sgd"
    """
    names = sorted(known)
    start = name[:LONGEST_NAME].lower()
    begun = [each for each in names if each.startswith(start)]  # val_acc is val_accuracy, not val_auroc
    close = get_close_matches(start, begun or names, n=1, cutoff=0.6)
    hint = f"did you mean '{shorten(close[0])}'? " if close else ""
    listed = [shorten(each) for each in names[:MOST_NAMES]]
    more = f" and {len(names) - MOST_NAMES:,} more" if len(names) > MOST_NAMES else ""
    return f"{hint}allowed: {', '.join(listed)}{more}"
