"""Parts of Optuna's samplers that are used here although they are not public.

The tests of this module fail when an upgrade of Optuna or cmaes takes one of these parts away.
"""

import io
import json
import pickle
from collections.abc import Mapping
from typing import Any

from tuner.errors import StudyError

_ENQUEUED = "fixed_params"
"""Optuna's key for the parameters of an enqueued trial, which the tables hold already."""
_CMA_STATE = "cma:optimizer"
"""Prefix of Optuna's keys for the pickled state of CMA-ES, which is cut into pieces."""


def dump_attributes(attributes: Mapping[str, Any]) -> str:
    """Write what a sampler keeps about a trial as JSON, for the tables."""
    return json.dumps({key: value for key, value in attributes.items() if key != _ENQUEUED})


def load_attributes(text: Any) -> dict[str, Any]:
    """Read what a sampler kept about a trial. A null cell holds nothing.

    Raises:
        StudyError: The state of CMA-ES would run foreign code.
    """
    attributes: dict[str, Any] = json.loads(text) if isinstance(text, str) else {}
    pieces = sum(key.startswith(_CMA_STATE) for key in attributes)
    if state := "".join(attributes[f"{_CMA_STATE}:{piece}"] for piece in range(pieces)):
        _CmaState(io.BytesIO(bytes.fromhex(state))).load()
    return attributes


class _CmaState(pickle.Unpickler):
    """An unpickler that refuses everything but the state of CMA-ES.

    Optuna unpickles that state, and a study may come from anywhere.
    """

    _PARTS = frozenset(
        {
            ("cmaes._cma", "CMA"),
            ("numpy", "dtype"),
            ("numpy", "ndarray"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "scalar"),
            ("numpy._core.numeric", "_frombuffer"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._PARTS:
            raise StudyError(f"trials.sampler_attrs: found {module}.{name}, which is no part of the state of CMA-ES")
        return super().find_class(module, name)
