"""Secrets in URLs and command lines, hidden before they are printed or kept."""

import re
from collections.abc import Iterable

HIDDEN = "***"

_NAME = (
    r"[\w.\-]*(?:token|secret|password|passwd|signature|credential|credentials|(?:api|access|account|secret)[_\-]?key"
    r"|accesskeyid|(?<![a-z0-9])sig)"
)
_USER = re.compile(r"(?<=://)[^/\s@'\"]+(?=@)")
_VALUE = re.compile(rf"(?<![\w.\-])({_NAME})=[^&\s'\"]+", re.IGNORECASE)
_OPTION = re.compile(rf"--?{_NAME}", re.IGNORECASE)


def redact(text: str) -> str:
    """Hide the secrets of a text.

    These are users in URLs, and values whose name is a secret's.

    >>> redact("s3://key:secret@bucket/runs and https://host/a?X-Amz-Signature=abc&size=3")
    's3://***@bucket/runs and https://host/a?X-Amz-Signature=***&size=3'
    """
    return _VALUE.sub(rf"\1={HIDDEN}", _USER.sub(HIDDEN, text))


def redact_command(words: Iterable[str]) -> list[str]:
    """Hide the secrets of a command line.

    >>> redact_command(["curl", "--token", "abc", "API_KEY=abc"])
    ['curl', '--token', '***', 'API_KEY=***']
    """
    redacted: list[str] = []
    is_value = False
    for word in words:
        redacted.append(HIDDEN if is_value else redact(word))
        is_value = _OPTION.fullmatch(word) is not None
    return redacted
