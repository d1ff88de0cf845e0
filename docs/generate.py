"""Write the reference tables of the documentation from the code that they describe.

A page holds `<!-- generated: NAME -->` and `<!-- end -->`; what stands between them is replaced.

    python docs/generate.py
"""

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from tuner.config import budget, constraints, dataset, parameters, sections, training
from tuner.config.registry import ARCHITECTURES, DATASETS, METRICS, TORCHVISION, Architecture
from tuner.config.study import StudyConfig
from tuner.results.schema import COLUMNS, KEYS

FOLDER = Path(__file__).parent
BLOCK = re.compile(r"(<!-- generated: ([\w.]+) -->\n).*?(<!-- end -->)", re.DOTALL)
MODELS: dict[str, type[BaseModel]] = {
    "study": StudyConfig,
    "dataset": dataset.DatasetConfig,
    "dataset.augment": dataset.Augment,
    "dataset.pixels": dataset.Normalization,
    "training": training.TrainingConfig,
    "training.evaluate": training.Evaluate,
    "space.choice": parameters.Choice,
    "space.float": parameters.Float,
    "space.int": parameters.Int,
    "space.value": parameters.Constant,
    "search": sections.Search,
    "stopping": sections.Stopping,
    "stopping.asha": sections.AshaConfig,
    "stopping.hyperband": sections.HyperbandConfig,
    "stopping.median": sections.MedianConfig,
    "resources": sections.Resources,
    "constraints": constraints.Bound,
    "budget": budget.Budget,
    "repeats": sections.Repeats,
}
"""Models of a study file by their place in it."""
WORDS = {int: "whole number", float: "number", str: "text", bool: "true, false", Any: "value"}
BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def attribute_docs(model: type) -> dict[str, str]:
    """Return the text below each attribute of a class and its bases, in one line."""
    docs: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if base.__module__.startswith("tuner."):
            body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
            assert isinstance(body, ast.ClassDef)
            docs |= _docs_below(body.body)
    return docs


def _docs_below(statements: list[ast.stmt]) -> dict[str, str]:
    docs: dict[str, str] = {}
    for before, after in pairwise(statements):
        is_field = isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name)
        if is_field and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            docs[before.target.id] = " ".join(str(after.value.value).split())  # type: ignore[attr-defined]
    return docs


def describe_type(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """Describe the allowed values of a field in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation == parameters.Value:
        return "value"
    if origin is Annotated:
        return describe_type(arguments[0], [*arguments[1:], *metadata])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (Union, UnionType):
        kinds = [describe_type(kind, metadata) for kind in arguments if kind is not NoneType]
        return " or ".join(dict.fromkeys(kinds))
    if origin is list:
        return f"list of {describe_type(arguments[0])}"
    if origin is tuple and Ellipsis in arguments:
        return f"list of {describe_type(arguments[0])}"
    if origin is tuple:
        return "[LOWEST, HIGHEST]"
    if origin is dict or (inspect.isclass(annotation) and issubclass(annotation, BaseModel)):
        return "mapping"
    return " ".join([WORDS[annotation], *_bounds(metadata)])


def _bounds(metadata: Iterable[Any]) -> list[str]:
    flat = [part for item in metadata for part in (item.metadata if isinstance(item, FieldInfo) else [item])]
    return [f"{sign} {getattr(part, key)}" for part in flat for key, sign in BOUNDS.items() if hasattr(part, key)]


def describe_default(field: FieldInfo) -> str:
    """Return the default of a field as a study file has it."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or value is PydanticUndefined:
        return "none"
    if isinstance(value, BaseModel):
        return "its defaults"
    plain = [item.model_dump() if isinstance(item, BaseModel) else item for item in value] if _is_list(value) else value
    return f"`{json.dumps(plain)}`".replace('"', "")


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    head = list(header)
    lines = [head, ["---"] * len(head), *map(list, rows)]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def keys_table(model: type[BaseModel]) -> str:
    """Return one row per key of a section."""
    docs = attribute_docs(model)
    return table(
        ("key", "allowed", "default", "meaning"),
        (
            (
                f"`{field.alias or name}`",
                describe_type(field.annotation, field.metadata),
                describe_default(field),
                docs.get(name, ""),
            )
            for name, field in model.model_fields.items()
        ),
    )


def columns_table(name: str) -> str:
    """Return one row per column of a table."""
    key = ", ".join(f"`{column}`" for column in KEYS[name])  # type: ignore[index]
    columns = COLUMNS[name]  # type: ignore[index]
    rows = ((f"`{column}`", str(kind), doc) for column, (kind, doc) in columns.items())
    return f"Rows are distinct by {key}.\n\n" + table(("column", "type", "meaning"), rows)


def architectures_table() -> str:
    """Return one row per built-in network."""
    rows = (
        (f"`{name}`", str(known.min_size), _hyperparameters(known), known.doc) for name, known in ARCHITECTURES.items()
    )
    return table(("name", "least pixels", "hyperparameters and defaults", "network"), rows)


def _hyperparameters(known: Architecture) -> str:
    declared = known.hyperparameters.items()
    return "<br>".join(f"`{name}: {json.dumps(value.default)}` {value.doc}" for name, value in declared)


def datasets_table() -> str:
    """Return one row per data set with a name."""
    rows = (
        (f"`{name}`", f"{d.size}x{d.size}, {d.channels} channels", str(d.classes), f"{d.train:,}", f"{d.test:,}")
        for name, d in DATASETS.items()
    )
    return table(("name", "images", "classes", "training", "test"), rows)


def metrics_table() -> str:
    """Return one row per metric of an objective."""
    rows = ((f"`{name}`", metric.direction, metric.doc) for name, metric in METRICS.items())
    return table(("metric", "direction", "meaning"), rows)


GENERATORS: dict[str, Callable[[], str]] = {
    **{f"keys.{name}": lambda model=model: keys_table(model) for name, model in MODELS.items()},  # type: ignore[misc]
    **{f"columns.{name}": lambda name=name: columns_table(name) for name in COLUMNS},  # type: ignore[misc]
    "architectures": architectures_table,
    "torchvision": lambda: ", ".join(f"`{name}`" for name in TORCHVISION) + "\n",
    "datasets": datasets_table,
    "metrics": metrics_table,
}


def render(page: str) -> str:
    """Return a page with every generated part made again."""
    return BLOCK.sub(lambda found: f"{found[1]}\n{GENERATORS[found[2]]()}\n{found[3]}", page)


def main() -> None:
    """Write every page that has changed."""
    for path in sorted(FOLDER.glob("*.md")):
        before = path.read_text(encoding="utf-8")
        if (after := render(before)) != before:
            path.write_text(after, encoding="utf-8")
            print(f"{path.name}: written")


if __name__ == "__main__":
    main()
