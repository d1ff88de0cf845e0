"""Key `log_to`: other places that a study's trials are logged to, beside its tables."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator

from tuner.config.validation_messages import shown
from tuner.errors import suggest
from tuner.storage.redaction import redact

LogName = Literal["tensorboard", "mlflow"]
LOG_NAMES: tuple[LogName, ...] = get_args(LogName)
AUTO = "auto"
"""Place of a log that the study file leaves open."""


def read_log_to(raw: Any) -> dict[str, str]:
    """Read `[tensorboard, mlflow]`, or a mapping of these names to their places.

    Raises:
        ValueError: A name or a place is not allowed.
    """
    if raw is None:
        return {}
    listed = [raw] if isinstance(raw, str) else raw
    named = dict.fromkeys(map(str, listed), AUTO) if isinstance(listed, list | tuple) else raw
    if not isinstance(named, Mapping):
        raise ValueError(f"found {shown(raw)}; allowed: a list of {', '.join(LOG_NAMES)}, or {{NAME: PLACE}}")
    return {name: check_place(str(name), place) for name, place in named.items()}


def check_place(name: str, place: Any) -> str:
    """Return the place of a log, `auto` if it is left open.

    Raises:
        ValueError: There is no log of this name, or it cannot be there.
    """
    if name not in LOG_NAMES:
        raise ValueError(f"no log {shown(name)}; {suggest(name, LOG_NAMES)}")
    if place is None or place == AUTO:
        return AUTO
    if not _is_fit(name, place):
        allowed = "a local folder" if name == "tensorboard" else "a URI such as sqlite:///mlflow.db or http://HOST:5000"
        text = redact(str(place))
        hint = "" if text == str(place) else "; users and passwords belong into the environment"
        raise ValueError(f"{name}: found {shown(text)}; allowed: {allowed}, or auto{hint}")
    return str(place)


def _is_fit(name: str, place: Any) -> bool:
    """Return True if a log can be written to this place.

    TensorBoard needs a local folder, and MLflow a URI without secrets.
    """
    if not isinstance(place, str) or not place.strip() or not place.isprintable() or redact(place) != place:
        return False
    is_uri = "://" in place
    if name == "tensorboard":
        return not is_uri
    return place == "databricks" or (is_uri and not place.startswith("file:"))


LogTo = Annotated[dict[LogName, str], BeforeValidator(read_log_to)]
