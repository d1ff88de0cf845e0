"""Base of every section of a study file."""

from collections.abc import Mapping, Set
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, model_validator

from tuner.config.validation_messages import shown
from tuner.errors import suggest


class Settings(BaseModel):
    """Immutable settings from a file. Unknown keys are refused and values checked."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _name_the_nearest_key(cls, raw: Any) -> Any:
        if isinstance(raw, Mapping):
            known = {field.alias or name for name, field in cls.model_fields.items()}
            for key in raw:
                if key not in known:
                    raise ValueError(f"unknown key {shown(key)}; {suggest(str(key), known)}")
        return raw

    def as_begun(self, begun: Self, names: Set[str]) -> Self:
        """Return these settings with the values that the study began with.

        A value of `begun` is taken for each of `names` that the file does not state.
        """
        return self.model_copy(update={name: getattr(begun, name) for name in names - self.model_fields_set})
