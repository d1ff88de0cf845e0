"""YAML 1.2 files, where `1e-4` is a number and `off` is text."""

import codecs
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import Node

from tuner.config.validation_messages import shown
from tuner.errors import SpecError, first_line, printable, shorten

LARGEST_FILE = 256 * 1024
"""Bytes of the largest study file. Reading it takes about two seconds."""
LONGEST_PATH = 1000
"""Characters of a path that a message shows."""


class _Constructor(SafeConstructor):
    """Constructor whose errors have the line and column of the value."""

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (YAMLError, RecursionError):
            raise
        except Exception as error:  # because int(), date() and others raise their own
            kind = str(node.tag).rpartition(":")[2]
            what = shown(node.value) if isinstance(node.value, str) else "this"
            problem = f"cannot read {what} as {kind}: {first_line(error)}"
            raise ConstructorError(None, None, problem, node.start_mark) from None


def read_yaml(path: Path) -> Any:
    """Read a YAML 1.2 file.

    Raises:
        SpecError: The file cannot be read. The message names it, with line and column.
    """
    source = shorten(printable(str(path)), LONGEST_PATH)
    raw = parse_yaml(_decode(_read(path, source), source), source)
    if raw is None:
        raise SpecError(f"{source}: the file is empty; a study needs `study:` and `space:`")
    return raw


def _read(path: Path, source: str) -> bytes:
    try:
        if path.resolve().is_fifo():  # which would wait for a writer, unlike the pipe of `<(…)`
            raise SpecError(f"{source}: a named pipe; allowed: a text file")
        with path.open("rb") as stream:
            content = stream.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        raise SpecError(f"{source}: no such file") from None
    except (OSError, RuntimeError, ValueError) as error:  # because links may go in a circle, and names hold NUL
        raise SpecError(f"{source}: cannot be read: {getattr(error, 'strerror', None) or first_line(error)}") from None
    if len(content) > LARGEST_FILE:
        raise SpecError(f"{source}: larger than {LARGEST_FILE // 1024} KiB; a study file is a page of text")
    return content


def _decode(content: bytes, source: str) -> str:
    """Decode UTF-8, or UTF-16 with its mark, as YAML 1.2 allows."""
    is_wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if is_wide else "utf-8")
    except UnicodeDecodeError as error:
        if is_wide or b"\0" in content:
            raise SpecError(f"{source}: not a text file") from None
        before = content[: error.start].decode("utf-8")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        byte = f"byte 0x{content[error.start]:02x}"
        raise SpecError(f"{source}:{line}:{column}: found {byte}; allowed: text in UTF-8, save it as that") from None
    if "\0" in text:
        raise SpecError(f"{source}: not a text file")
    return text


def parse_yaml(text: str, source: str) -> Any:
    """Read YAML text.

    Raises:
        SpecError: The text is broken. The message names the source, with line and column.
    """
    reader = YAML(typ="safe", pure=True)
    reader.Constructor = _Constructor
    try:
        return reader.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        position = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        problem = (error.problem or error.context or "cannot be read").splitlines()[0]
        raise SpecError(f"{source}{position}: broken YAML: {shorten(problem, 200)}") from None
    except RecursionError:
        raise SpecError(f"{source}: broken YAML: nested too deeply") from None
    except Exception as error:  # because ruamel raises AssertionError, TypeError and others, too
        raise SpecError(f"{source}: broken YAML: {first_line(error)}") from None


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
