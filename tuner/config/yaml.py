"""YAML 1.2 files, where `1e-4` is a number and `off` is text."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from tuner.errors import SpecError, first_line


def read_yaml(path: Path) -> Any:
    """Read a YAML 1.2 file.

    Raises:
        SpecError: The file cannot be read. The message names it, with line and column.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpecError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise SpecError(f"{path}: not a text file") from None
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror}") from None
    if "\0" in text:
        raise SpecError(f"{path}: not a text file")
    raw = parse_yaml(text, str(path))
    if raw is None:
        raise SpecError(f"{path}: the file is empty; a study needs `study:` and `space:`")
    return raw


def parse_yaml(text: str, source: str) -> Any:
    """Read YAML text.

    Raises:
        SpecError: The text is broken. The message names the source, with line and column.
    """
    try:
        return YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        position = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        problem = (error.problem or error.context or "cannot be read").splitlines()[0]
        raise SpecError(f"{source}{position}: broken YAML: {problem}") from None
    except YAMLError as error:
        raise SpecError(f"{source}: broken YAML: {first_line(error)}") from None
    except RecursionError:
        raise SpecError(f"{source}: broken YAML: nested too deeply") from None


def override(raw: Any, settings: Iterable[str]) -> Any:
    """Apply each `--set a.b=c`, where c is read as YAML.

    Raises:
        SpecError: There is no `=`, or the path leads through a value.
    """
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not path:
            raise SpecError(f"--set {setting}: write --set PLACE=VALUE, for example --set search.trials=64")
        value = parse_yaml(text, f"--set {path}")
        *parents, key = path.split(".")
        node = raw
        if not isinstance(node, dict):
            raise SpecError(f"--set {setting}: the file holds no mapping, found {type(raw).__name__}")
        for parent in parents:
            node = node.setdefault(parent, {}) if isinstance(node, dict) else None
            if not isinstance(node, dict):
                raise SpecError(f"--set {setting}: {parent} is a value, not a mapping")
        node[key] = value
    return raw


def to_yaml(values: dict[str, Any]) -> str:
    """Write plain values as YAML, the innermost mappings on one line."""
    yaml, text = YAML(typ="safe", pure=True), io.StringIO()
    yaml.default_flow_style, yaml.sort_base_mapping_type_on_output = None, False  # type: ignore[assignment]
    yaml.width = 120
    yaml.dump(values, text)
    return text.getvalue()
