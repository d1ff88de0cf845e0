"""A fuzzer of study files, which is run alone as `python -m tests.config.fuzz 10000`.

Each file ends as a plan that can run, or as one line per mistake. Files are made from a seed, so
that a failure comes back: `python -m tests.config.fuzz 1 SEED`.
"""

import json
import random
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pyarrow as pa

from tuner.config.registry import ARCHITECTURES
from tuner.config.study import StudyConfig, load_spec, parse_spec
from tuner.config.validation_messages import MOST_LINES
from tuner.config.yaml import parse_yaml
from tuner.errors import SpecError
from tuner.results.schema import PANDAS_TYPES, parameters_from_row, parameters_to_row, schema
from tuner.search.proposals import Proposal
from tuner.search.schedulers import make_scheduler, rung_epochs
from tuner.search.searcher import OptunaSearcher

LONGEST_SECONDS = 20.0
"""CPU seconds that no study file may take."""
LONGEST_LINE = 2000
"""Characters of the longest line of a refusal."""

NUMBERS: list[Any] = [
    0, 1, -1, 2, 3, 8, 64, 0.5, 0.1, 1e-4, 0.3, 1.0000001, 2**31, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 10**20,
    10**400, 1e-12, 1e-13, 1e-300, 5e-324, 1e300, 1.7e308, -0.0, 0.30000000000000004,
]  # fmt: skip
TEXTS: list[Any] = [
    "", "adam", "sgd", "none", "lenet5", "rubio_small", "x" * 300, "~nouser", "~nouser/x", "a:b", "os:path", "../..",
    "/dev/zero", "\x1b[31m", "\u202e", "é", "[bold]", "null", "1e3", "digits", "mnist", "val_accuracy", "auto", "all",
    "torchvision:resnet18", "a\nb", "a\0b", "*", "./" + "y" * 300, "tpe", "\ud800",
]  # fmt: skip
RAW = [
    "2024-99-99", "2024-01-01", "!!int abc", "!!omap [a: 1, a: 2]", "!!set {a}", "!!binary aGk=", "!!float x", "*a",
    "&a [*a]", "{<<: 3}", "!!python/name:os.system", "0x" + "f" * 5000, "1" * 5000, "[" * 200, "{", "'", "\t", "? [1]",
    "---", "...", "%YAML 9.9", ".nan", ".inf", "-.inf", "0o7", "!!timestamp x", "!!bool maybe", "!!null x", "@", "`",
    "|\n", ">-\n", "\x00", "\x07", "\ufeff", "\x85", "\u2028", "{a: 1, a: 2}", "!", "!!", "!<>", "&a", "<<: *b",
    "!!merge x", "!!pairs [a: 1]", "1_000", "12:30:45", "~", "!!str", "!!map", "!!seq x",
]  # fmt: skip
NAMES = [
    "architecture", "learning_rate", "batch_size", "epochs", "optimizer", "momentum", "weight_decay", "dropout",
    "dense", "filters", "schedule", "init", "label_smoothing", "epsilon", "precision",
]  # fmt: skip
SENSIBLE: dict[str, list[Any]] = {
    "learning_rate": [1e-4, 0.1, {"float": [1e-4, 0.1], "log": True}, {"float": [0.1, 0.5], "step": 0.1}],
    "batch_size": [16, {"choice": [16, 32]}, {"int": [8, 64], "step": 8}, {"int": [8, 64], "log": True}],
    "epochs": [3, {"choice": [1, 2, 30]}, {"int": [1, 9]}],
    "optimizer": ["adam", {"choice": ["adam", "sgd"]}],
    "momentum": [{"float": [0, 0.9], "step": 0.3}, {"float": [0.1, 0.9], "when": {"optimizer": "sgd"}}],
    "weight_decay": [{"choice": [0, 1e-4, 0.5]}, {"float": [1e-6, 1e-2], "log": True, "when": {"epochs": [2, 3]}}],
    "label_smoothing": [{"float": [0, 0.3], "step": 0.1}, {"value": 0.2, "when": {"momentum": 0.3}}],
    "schedule": [{"choice": ["constant", "cosine"], "when": {"learning_rate": 0.3}}],
    "focal_gamma": [{"float": [0, 5]}],
    "sampling": [{"choice": ["shuffled", "balanced"]}],
    "class_weights": [{"choice": ["none", "balanced"], "when": {"sampling": "shuffled"}}],
    "dropout": [{"float": [0, 0.5]}, {"float": [0, 0.5], "when": {"architecture": ["lenet5", "vazquez_base"]}}],
    "architecture": ["lenet5_classic", {"choice": ["lenet5", "vazquez_base"]}, {"choice": [*ARCHITECTURES]}],
}
SECTIONS: dict[str, list[Any]] = {
    "dataset": [{"name": "mnist"}, {"name": "cifar10", "validation": {"last": 0.2}, "augment": {"flip": True}}],
    "objective": [
        {"maximize": "val_accuracy"},
        {"minimize": "val_ece"},
        [{"maximize": "val_accuracy"}, {"minimize": "seconds_per_image_1"}],
        [{"maximize": "val_accuracy"}, {"minimize": "train_seconds"}],
    ],
    "search": [
        {"try_first": [{"learning_rate": 0.01}, {"optimizer": "adam", "momentum": 0.5}]},
        *(
            {"sampler": each}
            for each in ("mixed", "tpe", "curves", "random", "qmc", "grid", "gp", "cmaes", "nsga2", "nsga3")
        ),
    ],
    "stopping": ["none", "asha", {"asha": {"grace_period": 2, "reduction_factor": 1.01}}, {"hyperband": {}}, "median"],
    "resources": [{"cpu": 2, "gpu": 0.5}, {"concurrent": 3}],
    "constraints": [{"parameters_count": {"max": 100000}}, {"val_loss": {"min": 0.1, "max": 2}}],
    "budget": [
        {"hours": 1e-9},
        {"hours": 2, "epochs": 9, "trials": 4},
        {"target": {"val_accuracy": 0.9}},
        {"plateau": 3, "trial_minutes": 2},
    ],
    "repeats": [{"top": 3, "seeds": 2}, {"top": "all"}],
    "retries": [0, 5],
    "predictions": [["test"], ["validation", "test"]],
    "metrics": [["val_auroc", "val_ece"]],
    "classes": [["validation"]],
    "untrained": [True],
    "log_every": [1, 40],
    "log_to": ["mlflow", ["tensorboard", "mlflow"], {"tensorboard": "runs", "mlflow": None}],
    "protocol": ["as_published"],
}


def study_text(seed: int) -> str:
    """Write a random study file: a sensible one, with up to three changes for the worse."""
    draw = random.Random(seed)
    study = next((one for one in (_sensible(draw) for _ in range(9)) if _is_valid(one)), _sensible(draw))
    for _ in range(draw.choice([0, 0, 1, 1, 1, 2, 3])):
        _spoil(draw, study)
    text = json.dumps(study, indent=draw.choice([None, 1]), ensure_ascii=draw.random() < 0.5)
    for _ in range(draw.choice([0, 0, 0, 0, 1, 2])):
        text = _spoil_text(draw, text)
    return text


def _is_valid(study: dict[str, Any]) -> bool:
    try:
        parse_spec(study)
    except SpecError:
        return False
    return True


def _sensible(draw: random.Random) -> dict[str, Any]:
    names = draw.sample([*SENSIBLE], draw.randint(0, len(SENSIBLE)))
    drawn = {name: deepcopy(draw.choice(SENSIBLE[name])) for name in names}
    space = {
        name: one for name, one in drawn.items() if not isinstance(one, dict) or {*one.get("when", ())} <= {*drawn}
    }
    study: dict[str, Any] = {"study": "fuzz", "dataset": {"name": "mnist"}, "space": space}
    if "architecture" not in space:
        study["training"] = {"architecture": draw.choice(["lenet5", "vazquez_base", "alexnet"])}
    for section in draw.sample([*SECTIONS], draw.randint(0, 5)):
        study[section] = deepcopy(draw.choice(SECTIONS[section]))
    return study


def _spoil(draw: random.Random, study: dict[str, Any]) -> None:
    """Change one value, key or condition somewhere in a study."""
    holders = [value for value in _values(study) if isinstance(value, dict | list) and value]
    holder = draw.choice(holders)
    key: Any = draw.choice([*holder]) if isinstance(holder, dict) else draw.randrange(len(holder))
    space = study.get("space")
    match draw.randrange(7):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[draw.choice([*NAMES, *TEXTS, f"{key}s", "when", "step", "log"])] = holder.pop(key)
        case 2 if isinstance(space, dict):
            condition = {draw.choice(NAMES): draw.choice([*NUMBERS, *TEXTS, ["adam"]]) for _ in range(2)}
            space[draw.choice(NAMES)] = {"choice": [1, 2], "when": condition}
        case 3 if isinstance(space, dict):
            low, high = draw.choice(NUMBERS), draw.choice(NUMBERS)
            kind = draw.choice(["float", "int"])
            space[draw.choice(NAMES)] = {kind: [low, high], **draw.choice([{}, {"log": True}, {"step": low}])}
        case 4 | 5 if isinstance(holder[key], int | float):
            holder[key] = draw.choice(NUMBERS)
        case _:
            holder[key] = draw.choice([*NUMBERS, *TEXTS, None, True, [], {}, [[]], {"a": 1}, [1, 0.5, "a", True]])


def _values(value: Any) -> list[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value, *(each for one in list(inner) for each in _values(one))]


def _spoil_text(draw: random.Random, text: str) -> str:
    """Change a study's text: put something in, repeat a part, or cut it."""
    place = draw.randrange(len(text) + 1)
    match draw.randrange(4):
        case 0:
            return text[:place]
        case 1:
            return text[:place] + draw.choice(RAW) + text[place:]
        case 2:
            return text[:place] + text[draw.randrange(len(text) + 1) :]
        case _:
            colons = [index for index, char in enumerate(text) if char == ":"] or [0]
            at = draw.choice(colons)
            return f"{text[: at + 1]} {draw.choice(RAW)}{draw.choice([', ', ''])}{text[at + 1 :]}"


def check(path: Path) -> bool:
    """Read a study file as the command line does. Return True for a plan that can run.

    Raises:
        AssertionError: It took too long, a refusal is not plain, or the plan cannot run.
    """
    began = time.process_time()
    try:
        spec = load_spec(path)
    except SpecError as error:
        lines = str(error).split("\n")
        assert all(line.isprintable() and 0 < len(line) < LONGEST_LINE for line in lines), lines
        assert len(lines) <= MOST_LINES + 1, len(lines)
        return False
    finally:
        seconds = time.process_time() - began
        assert seconds < LONGEST_SECONDS, f"{seconds:.1f} s"
    check_plan(spec)
    return True


def check_plan(spec: StudyConfig) -> None:
    """Write and read the study, propose two trials, and keep their rows."""
    assert parse_spec(parse_yaml(spec.to_yaml(), "again")) == spec
    columns = schema("trials", spec.space)
    trials = columns.empty_table().to_pandas(types_mapper=PANDAS_TYPES.get)
    epochs = schema("epochs", spec.space).empty_table().to_pandas(types_mapper=PANDAS_TYPES.get)
    made: list[Proposal] = []
    searcher = OptunaSearcher(spec, trials, epochs, slots=lambda: 2, on_propose=made.append, latest=lambda: trials)
    make_scheduler(spec, lambda _: None)
    assert len(rung_epochs(spec)) < 10_000
    for name in ("first", "second"):
        searcher.suggest(name)
    assert made
    for proposal in made:
        spec.training_config(proposal.parameters)
        row = parameters_to_row(spec.space, proposal.parameters)
        table = pa.Table.from_pylist([row], schema=pa.schema([columns.field(name) for name in row]))
        (again,) = table.to_pandas(types_mapper=PANDAS_TYPES.get).to_dict("records") if row else ({},)
        assert parameters_from_row(spec.space, again) == proposal.parameters


def fuzz(seeds: range, report: Callable[[int, str], None]) -> int:
    """Check a study file of each seed, and return how many were plans.

    Args:
        seeds: One per file.
        report: Called with the seed of each failure and its traceback.
    """
    plans = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "study.yaml")
        for seed in seeds:
            path.write_bytes(study_text(seed).encode("utf-8", "surrogatepass"))
            try:
                plans += check(path)
            except (Exception, SystemExit):
                report(seed, traceback.format_exc())
    return plans


def main() -> None:
    """Check as many study files as the first argument says, from the seed of the second on."""
    warnings.simplefilter("error")
    count, first = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    failures: list[int] = []

    def report(seed: int, text: str) -> None:
        failures.append(seed)
        print(f"seed {seed}:\n{text}", flush=True)

    plans = fuzz(range(first, first + count), report)
    print(f"{count} study files: {plans} plans, {count - plans - len(failures)} refusals, {len(failures)} failures")
    print(f"{time.process_time():.0f} CPU seconds")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
