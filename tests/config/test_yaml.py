"""YAML as people write it, with the line and column of what is broken."""

import os
from pathlib import Path
from typing import Any

import pytest

from tuner.config.yaml import override, parse_yaml, read_yaml, to_yaml
from tuner.errors import SpecError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E3", 1000.0),
        ("-.5", -0.5),
        ("0.1", 0.1),
        ("010", 10),
        ("off", "off"),
        ("yes", "yes"),
        ("no", "no"),
        ("true", True),
        ("null", None),
        ("'1e-4'", "1e-4"),
        ("[1, 1.0, a, true]", [1, 1.0, "a", True]),
    ],
)
def test_yaml_reads_scalars_of_version_1_2(text: str, value: Any) -> None:
    found = parse_yaml(f"key: {text}", "here")["key"]
    assert (found, type(found)) == (value, type(value))


BROKEN = {
    "a tab": (b"study: a\n\tspace: {}\n", ":2:1: broken YAML: found character '\\t' that cannot start any token"),
    "an open bracket": (b"study: [a\nspace: {}\n", ":2:6: broken YAML: expected ',' or ']', but got ':'"),
    "two colons": (b"study: a: b\n", ":1:9: broken YAML: mapping values are not allowed here"),
    "a key twice": (
        b"study: a\nspace: {}\nstudy: b\n",
        ':3:1: broken YAML: found duplicate key "study" with value "b" (original value: "a")',
    ),
    "a nested key twice": (b"space:\n  dense: 1\n  dense: 2\n", ':3:3: broken YAML: found duplicate key "dense"'),
    "an unknown alias": (b"study: *a\n", ":1:8: broken YAML: found undefined alias 'a'"),
    "code": (b"study: !!python/object:os.system x\n", ":1:8: broken YAML: could not determine a constructor"),
    "two documents": (b"a: 1\n---\nb: 2\n", ":2:1: broken YAML: but found another document"),
    "a mapping as a key": (b"? {a: 1}\n: 2\n", ":1:3: broken YAML: found unhashable key"),
    "a control character": (b"study: a\x07\n", ": broken YAML: unacceptable character #x0007"),
    "hundreds of brackets": (b"study: " + b"[" * 1000, ": broken YAML: nested too deeply"),
    "nothing": (b"", ": the file is empty; a study needs `study:` and `space:`"),
    "only a comment": (b"# later\n", ": the file is empty"),
    "an image": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), ": not a text file"),
    "zeros": (bytes(64), ": not a text file"),
    "half of UTF-16": ("study: a\n".encode("utf-16")[:-1], ": not a text file"),
    "Latin-1": (
        "study: a\n# f\u00fcr\n".encode("latin-1"),
        ":2:4: found byte 0xfc; allowed: text in UTF-8, save it as",
    ),
    "no date": (b"study: a\nb: 2024-99-99\n", ":2:4: broken YAML: cannot read '2024-99-99' as timestamp: month must"),
    "no number": (b"study: !!int abc\n", ":1:8: broken YAML: cannot read 'abc' as int: invalid literal"),
    "a number of 5,000 digits": (b"study: " + b"1" * 5000, ":1:8: broken YAML: cannot read '1111"),
    "an ordered map with doubles": (b"!!omap [a: 1, a: 2]", ": broken YAML: "),
    "an image in text": (b"study: !!binary abc\n", ":1:8: broken YAML: failed to decode base64 data"),
    "megabytes": (b"# " + b"x" * 300_000, ": larger than 256 KiB; a study file is a page of text"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_yaml_names_line_of_a_broken_file(what: str, tmp_path: Path) -> None:
    content, message = BROKEN[what]
    path = tmp_path / "study.yaml"
    path.write_bytes(content)
    with pytest.raises(SpecError) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(f"{path}{message}")
    assert "\n" not in str(caught.value)


def test_yaml_refuses_named_pipe_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "study.yaml")
    with pytest.raises(SpecError, match=r"study\.yaml: a named pipe; allowed: a text file$"):
        read_yaml(tmp_path / "study.yaml")


def test_yaml_reads_pipe_of_a_shell() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"study: a\n")
    os.close(writer)
    assert read_yaml(Path(f"/dev/fd/{reader}")) == {"study": "a"}
    os.close(reader)


@pytest.mark.parametrize("name", ["circle", "x" * 300, "nul\0"])
def test_yaml_refuses_path_that_cannot_be_opened(name: str, tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises(SpecError, match="cannot be read: "):
        read_yaml(tmp_path / name)


def test_yaml_names_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"absent\.yaml: no such file$"):
        read_yaml(tmp_path / "absent.yaml")
    with pytest.raises(SpecError, match=rf"^{tmp_path}: cannot be read: Is a directory$"):
        read_yaml(tmp_path)


@pytest.mark.parametrize(
    "content", [b"a: 1\r\nb: \xc3\xa4\r\n", b"\xef\xbb\xbfa: 1\nb: \xc3\xa4\n", "a: 1\nb: ä".encode("utf-16")]
)
def test_yaml_reads_files_of_other_editors(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_bytes(content)
    assert read_yaml(tmp_path / "study.yaml") == {"a": 1, "b": "ä"}


@pytest.mark.parametrize(
    ("setting", "changed"),
    [
        ("study=other", {"study": "other", "search": {"trials": 3}}),
        ("search.trials=64", {"study": "a", "search": {"trials": 64}}),
        ("search.seed=1e-4", {"study": "a", "search": {"trials": 3, "seed": 1e-4}}),
        ("new.inner={b: [1]}", {"study": "a", "search": {"trials": 3}, "new": {"inner": {"b": [1]}}}),
        ("search=x=y", {"study": "a", "search": "x=y"}),
        ("search.trials=", {"study": "a", "search": {"trials": None}}),
    ],
)
def test_override_replaces_settings_of_the_file(setting: str, changed: Any) -> None:
    assert override({"study": "a", "search": {"trials": 3}}, [setting]) == changed


@pytest.mark.parametrize(
    ("raw", "setting", "message"),
    [
        ({}, "search.trials", "--set search.trials: write --set PLACE=VALUE, for example --set search.trials=64"),
        ({}, "=3", "--set =3: write --set PLACE=VALUE, for example --set search.trials=64"),
        ({"study": "a"}, "study.b=3", "--set study.b=3: study is a value, not a mapping"),
        ({"space": None}, "space.b=3", "--set space.b=3: space is a value, not a mapping"),
        ({"a": {"b": [1]}}, "a.b.c=3", "--set a.b.c=3: b is a value, not a mapping"),
        ({}, "a=[1", "--set a:1:3: broken YAML: expected ',' or ']', but got '<stream end>'"),
        ([1], "a=1", "--set a=1: the file holds no mapping, found list"),
    ],
)
def test_override_refuses_setting_that_cannot_be_applied(raw: Any, setting: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        override(raw, [setting])
    assert str(caught.value) == message


def test_yaml_reads_back_in_the_same_order() -> None:
    values: dict[str, Any] = {
        "z": 1,
        "a": {"text": ["1e-4", "true", "null", "off", "", " b", "ä: #", "line\nbreak", "x" * 300 + " " + "y" * 300]},
        "numbers": [1e-08, 1.0, 1, -0.0, 1e300, 2**62],
        "b": [True, None, [], {}, [[1], {"k": "v"}]],
    }
    again = parse_yaml(to_yaml(values), "here")
    assert (again, list(again)) == (values, list(values))
    assert [type(number) for number in again["numbers"]] == [type(number) for number in values["numbers"]]
