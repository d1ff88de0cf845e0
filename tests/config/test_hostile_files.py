"""Study files that nobody means: each is refused at once, in a few plain lines."""

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuner.config.plain import MOST_VALUES
from tuner.config.study import load_spec, parse_spec
from tuner.config.validation_messages import MOST_LINES
from tuner.errors import SpecError, UserError, printable

START = "study: demo\ntraining: {architecture: vazquez_deep}\ndataset: {name: mnist}\n"
ESCAPE = "\\e[31mred\\x07"
"""An escape sequence and a bell, as YAML writes them in double quotes."""


def choices(count: int, when: Callable[[int], list[int]]) -> str:
    """Parameters p0, p1, … with a condition on others."""
    lines = (
        f"  p{i}: {{choice: [1, 2], when: {{{', '.join(f'p{other}: [1, 2]' for other in when(i))}}}}}"
        for i in range(count)
    )
    return "space:\n" + "\n".join(lines) + "\n"


BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)

HOSTILE = {
    "conditions on all before": (choices(25, lambda i: [*range(i)]), "space.p0: unknown; "),
    "conditions on all others": (choices(25, lambda i: [j for j in range(25) if j != i]), "space.p0.when: conditions"),
    "a long chain": (choices(190, lambda i: [i + 1] if i < 189 else []), "space.p0: unknown; "),
    "a longer chain": (choices(1100, lambda i: [i + 1] if i < 1099 else []), "space: found 1,100 parameters; allowed"),
    "many values": (f"space: {{batch_size: {{choice: {[*range(0, 8_000)]}}}}}", "space.batch_size: found 0; should"),
    "aliases of aliases": (BOMB + "space: {}", f"more than {MOST_VALUES:,} values; aliases repeat what they name"),
    "an alias of its holder": ("space: &a\n  dense: *a\n", "space.dense.dense…: nested more than 20 deep"),
    "lists in lists": ("space: " + "[" * 60 + "]" * 60, "space[0][0]…: nested more than 20 deep"),
    "400 digits": ("space: {dense: " + "9" * 400 + "}", "space.dense: found a whole number of about 400 digits; all"),
    "hexadecimal digits": (f"retries: 0x{'f' * 5000}", "retries: found a whole number of about 6,020 digits; all"),
    "a key of many digits": (f"space:\n  ? 0x{'f' * 5000}\n  : 1", "space: found the key a whole number of about"),
    "a date": ("space: {dense: 2024-01-01}", "space.dense: found 2024-01-01, a date; allowed: text, in quotes"),
    "bytes": ("space: {dense: !!binary aGFsbG8=}", "space.dense: found b'hallo'; allowed: text, numbers"),
    "a set": ("space: {dense: !!set {a, b}}", "space.dense: found {"),
    "half a character": ('space: {optimizer: "\\ud800"}', "space.optimizer: found '\\ud800'; allowed: "),
    "a long value": (f"space: {{optimizer: {'x' * 2000}}}", f"space.optimizer: found '{'x' * 98}…; allowed: adam"),
    "a long key": (f"space:\n  ? {'x' * 2000}\n  : 1", f"space.{'x' * 99}…: unknown; allowed"),
    "a long data set": (f"space: {{}}\ndataset: {{name: {'x' * 300}}}", f"dataset.name: found '{'x' * 98}…; allowed"),
    "a long network": (f"space: {{architecture: {'x' * 300}}}", "training.architecture: stands under space too"),
    "an escape as value": (f'space: {{optimizer: "{ESCAPE}"}}', r"space.optimizer: found '\x1b[31mred\x07'; allowed"),
    "an escape as key": (f'space: {{"{ESCAPE}": 1}}', r"space.\x1b[31mred\x07: unknown"),
    "an escape as setting": (f'space: {{}}\n"{ESCAPE}": 1', r"unknown key '\x1b[31mred\x07'; allowed"),
    "an escape as module": (f'space: {{}}\ntraining: {{architecture: "{ESCAPE}:Net"}}', r"training.architecture: \x1b"),
    "an escape as metric": (f'space: {{}}\nobjective: {{maximize: "{ESCAPE}"}}', r"objective: no metric '\x1b[31mred"),
    "a condition never met": (
        "space: {filters: {int: [1, 9]}, dense: {choice: [1, 2], when: {filters: 2}}, "
        "dropout: {float: [0, 0.5], when: {filters: 3, dense: 1}}}",
        "space.dropout.when: never holds, because all its conditions leave filters no value",
    ),
    "a condition on a continuum": (
        "space: {dropout: {float: [0, 0.5]}, dense: {value: 8, when: {dropout: 0.25}}}",
        "space.dense.when.dropout: 0.25 cannot occur; dropout is {'float': (0.0, 0.5)}, whose draws equal no value; ",
    ),
}  # fmt: skip

LARGE = ("a longer chain", "many values")


def refused(path: Path, text: str) -> list[str]:
    path.write_text(text)
    began = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - began < 20
    lines = str(caught.value).split("\n")
    assert all(line.isprintable() and len(line) < 1500 for line in lines)
    return [line.removeprefix(f"{path}: ") for line in lines]


@pytest.mark.parametrize(
    "what", [pytest.param(what, marks=[pytest.mark.slow] if what in LARGE else []) for what in HOSTILE]
)
def test_hostile_file_is_refused_in_one_short_line(what: str, tmp_path: Path) -> None:
    text, message = HOSTILE[what]
    head = "".join(line + "\n" for line in START.splitlines() if f"\n{line.split(':')[0]}:" not in f"\n{text}")
    (line,) = refused(tmp_path / "study.yaml", head + text)
    assert line.startswith(message)


def test_many_mistakes_are_counted_after_the_first(tmp_path: Path) -> None:
    lines = refused(tmp_path / "study.yaml", START + "space: {}\npredictions: []\nobjective: []\n")
    assert len(lines) == 1
    wrong = "\n".join(f"  k{i}: {{float: [a, b]}}" for i in range(150))
    lines = refused(tmp_path / "study.yaml", f"{START}space:\n{wrong}\n")
    assert len(lines) == MOST_LINES + 1
    assert lines[-1] == f"and {300 - MOST_LINES} more"


def test_study_from_python_is_checked_alike() -> None:
    deep: dict[str, Any] = {"study": "a", "space": {}}
    deep["space"]["dense"] = deep
    with pytest.raises(SpecError, match="nested more than 20 deep"):
        parse_spec(deep)
    with pytest.raises(SpecError, match="a whole number of about 6,000 digits"):
        parse_spec({"study": "a", "space": {"dense": 10**6000}})


def test_errors_escape_what_a_terminal_obeys() -> None:
    assert str(UserError("a\x1b[2Jb\u202ec\ud800\nd")) == "a\\x1b[2Jb\\u202ec\\ud800\nd"
    assert printable("für 5 µm …") == "für 5 µm …"


@pytest.mark.parametrize("code", ["import sys; sys.exit(3)", "raise GeneratorExit", "raise BaseException('x')", "1/0"])
def test_module_that_ends_the_process_is_refused(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hostile_network.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    text = START.replace("vazquez_deep", "hostile_network:Net") + "space: {}\n"
    (line,) = refused(tmp_path / "study.yaml", text)
    assert line.startswith("training.architecture: hostile_network:Net: importing 'hostile_network' failed with ")
