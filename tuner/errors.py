"""What can go wrong for a user, and how it is said.

::

    TunerError                     anything this project raises on purpose
    ├── UserError                  the user's mistake: one line, exit code 2, nothing was written
    │   ├── SpecError              a study file that does not say a runnable study
    │   ├── DataError              images that are missing, truncated or of the wrong kind
    │   ├── ClusterError           a cluster that cannot be reached, or that cannot run the study
    │   └── StudyError             a study folder that is in use, another study, or not a study
    │       └── StoreError         an object store that refuses or cannot be reached (`tuner.storage.s3`)
    ├── RayLostError               Ray was killed in the middle of a study; the same command goes on
    └── TrialError                 one configuration cannot be trained; the study goes on
        ├── NotFiniteError         the loss is NaN or infinite
        └── OutOfMemoryError       the trial does not fit into memory
"""

from collections.abc import Iterable
from difflib import get_close_matches


class TunerError(Exception):
    """Anything this project raises on purpose."""


class UserError(TunerError):
    """The user's mistake: its text is one line that can be acted on."""


class SpecError(UserError):
    """A study file that does not say a runnable study."""


class DataError(UserError):
    """Images that are missing, truncated or of the wrong kind."""


class ClusterError(UserError):
    """A cluster that cannot be reached, refuses this client, or cannot run the study."""


class StudyError(UserError):
    """A study folder that is in use, holds another study, or is no study."""


class RayLostError(TunerError):
    """Ray was killed in the middle of a study, which goes on where it was when it is run again."""


class TrialError(TunerError):
    """One configuration cannot be trained, and trying again would not help."""


class NotFiniteError(TrialError):
    """The loss is NaN or infinite."""


class OutOfMemoryError(TrialError):
    """The trial does not fit into the memory of its device."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or the name of its type."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def type_and_line(error: BaseException) -> str:
    """Return an error as Python prints it, without what follows the first line."""
    name, line = type(error).__name__, first_line(error)
    return name if line == name else f"{name}: {line}"


def suggest(name: str, known: Iterable[str]) -> str:
    """Say which names are allowed, the most similar first: `'adm'` → `did you mean 'adam'? allowed: …`."""
    names = sorted(known)
    close = get_close_matches(name.lower(), names, n=1, cutoff=0.6)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}allowed: {', '.join(names)}"
