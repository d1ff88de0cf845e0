"""Identity of a study: what decides its numbers beside its file."""

from collections.abc import Mapping
from functools import cache

from tuner.config.code_hash import hash_network
from tuner.config.registry import Scalar
from tuner.config.study import StudyConfig
from tuner.config.user_models import is_own, library_of
from tuner.errors import StudyError, first_line
from tuner.results.folder import StudyFolder
from tuner.results.provenance import installed_version

Identity = Mapping[str, Scalar]
"""Values by the words that name them in a refusal."""

WAYS_ON = (
    "run it under another --name, start over with --fresh, or keep its rows and go on "
    "with --accept-changes, which its provenance records"
)
_SHOWN_DIGITS = 12
_VERSION = "version of "


def identify(spec: StudyConfig, fingerprint: str, weights: Mapping[str, str] | None = None) -> Identity:
    """Describe what decides the numbers of a study.

    Args:
        spec: The study.
        fingerprint: Hash of its images.
        weights: Hashes of its files of pretrained weights, by the words that name them.
    """
    identity: dict[str, Scalar] = {"images": fingerprint, **(weights or {})}
    for name in spec.architectures:
        if is_own(name):
            identity[f"code of {name}"] = hash_network(name)
        for key, value in _resolved_hyperparameters(spec, name).items():
            identity[f"{key} of {name}"] = value
    for library in sorted(filter(None, map(library_of, spec.architectures))):
        identity[f"{_VERSION}{library}"] = installed_version(library) or "unknown"  # its networks may change with it
    if "precision" not in spec.space:
        identity["training.precision"] = spec.training["precision"]
    return identity | {"resources.cpu": spec.resources.cpu}


def _resolved_hyperparameters(spec: StudyConfig, name: str) -> Mapping[str, Scalar]:
    """Return the hyperparameters of trials that the space does not set."""
    hyperparameters = spec.training_config({"architecture": name}).hyperparameters
    always = {key for key, parameter in spec.space.root.items() if not parameter.when}
    return {key: value for key, value in hyperparameters.items() if key not in always}


def list_changes(old: Identity, new: Identity) -> list[str]:
    """List the values that differ: `resources.cpu: 1 -> 2`."""
    keys = [key for key in {**new, **old} if _text(old, key) != _text(new, key)]
    return [f"{key}: {_text(old, key)} -> {_text(new, key)}" for key in keys]


def _text(identity: Identity, key: str) -> str:
    value = identity.get(key, "absent")
    is_hash = key == "images" or key.startswith(("code of ", "weights "))
    return str(value)[:_SHOWN_DIGITS] if is_hash else str(value)


def _changes_since(folder: StudyFolder, new: Identity) -> list[str]:
    try:
        old = folder.identity()
    except ValueError as error:
        return [f"identity.json: damaged: {first_line(error)}"]
    if old is None:
        return []
    unknown = {key: new[key] for key in new if key.startswith(_VERSION)}  # to studies of earlier versions
    return list_changes(unknown | old, new)


def check_identity(folder: StudyFolder, new: Identity, *, accept: bool = False) -> list[str]:
    """Compare a study's identity with that of its rows. Return accepted changes.

    A study of an earlier version, whose folder keeps no identity, is not compared.

    Args:
        folder: The study's folder, locked by the caller.
        new: The identity of the rows to come.
        accept: Go on in spite of changes.

    Raises:
        StudyError: There are changes, and they are not accepted.
    """
    changes = _changes_since(folder, new) if folder.holds_a_study else []
    if changes and not accept:
        raise StudyError(f"{folder}: its rows were made differently ({'; '.join(changes)}); {WAYS_ON}")
    return changes


@cache
def check_code(folder: str, name: str) -> None:
    """Refuse a user's network that was edited after its study had started.

    A success is remembered, because a process imports the code once.

    Args:
        folder: Path or URL of the study's folder.
        name: The architecture, not yet imported by this process.

    Raises:
        StudyError: The code is not that of the study's identity.
    """
    if is_own(name):
        refuse_edited(folder, {f"code of {name}": hash_network(name)})


def refuse_edited(folder: str, found: Identity, when: str = "while the study runs") -> None:
    """Refuse values that differ from those of a study's identity.

    Args:
        folder: Path or URL of the study's folder.
        found: Some values of the identity, as this process finds them.
        when: The time of the edit, for the message.

    Raises:
        StudyError: A value is not that of the study's identity.
    """
    try:
        kept = StudyFolder(folder).identity() or {}
    except ValueError as error:
        raise StudyError(f"{folder}/identity.json: damaged: {first_line(error)}") from None
    known = {key: value for key, value in found.items() if key in kept}
    if changes := list_changes({key: kept[key] for key in known}, known):
        raise StudyError(f"{changes[0]}: edited {when}; restore it, or run the study again")
