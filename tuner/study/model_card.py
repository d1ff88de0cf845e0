"""Model card: what a final model is, its figures, and their limits, in Markdown."""

from collections.abc import Iterator, Mapping
from typing import Any

from tuner.analysis.confirmation import confirmed
from tuner.analysis.formatting import is_missing, metric_text
from tuner.analysis.leaderboard import counts_by_state
from tuner.config.training import Evaluate, TrainingConfig
from tuner.errors import printable, shorten
from tuner.results.folder import StudyResults, is_finished
from tuner.results.schema import is_search
from tuner.training.image_model import Origin

MOST_CLASSES = 20
"""Class names to list."""
USE = """
```python
import tuner

model = tuner.load_model("path/of/this/folder")
probabilities = model.predict(model.read(["image.png"]))  # (images, classes)
print(model.classes[probabilities[0].argmax()])
```
"""


def render(study: StudyResults, row: Mapping[Any, Any], config: TrainingConfig, seed: int, origin: Origin) -> str:
    """Write the card of a model.

    Args:
        study: The study.
        row: The trial with the model's configuration.
        config: The model's recipe.
        seed: The seed of its training.
        origin: The search and the images that it comes from.
    """
    sections = {
        f"# Model of the study {study.spec.study}": _summary(config, origin, seed),
        "## Use": [USE.strip()],
        "## Figures": _figures(study, row, origin),
        "## Limits": (f"- {line}" for line in _limits(study, row, config, origin)),
    }
    return "\n\n".join(f"{title}\n\n" + "\n".join(lines) for title, lines in sections.items()) + "\n"


def list_classes(names: tuple[str, ...]) -> str:
    """List class names, the first ones if there are many."""
    shown = ", ".join(f"`{shorten(printable(name), 40)}`" for name in names[:MOST_CLASSES])
    return f"{len(names)} classes: {shown}" + (", …" if len(names) > MOST_CLASSES else "")


def _summary(config: TrainingConfig, origin: Origin, seed: int) -> Iterator[str]:
    name = shorten(printable(str(origin.dataset["name"])))
    yield f"- Network: `{config.architecture}`, {config.epochs} epochs, seed {seed}"
    yield f"- Configuration: that of trial {origin.trial}; `model.json` has every value of it"
    yield f"- Trained on: {origin.images['training']:,} images of `{name}` ({_source(origin)})"
    yield f"- Fingerprint of the data set: {origin.dataset['fingerprint']}"
    if config.pretrained:
        yield f"- Started from: `{shorten(printable(str(config.pretrained)))}`"
    yield f"- Made by: tuner {origin.versions['tuner']}, torch {origin.versions['torch']}"


def _source(origin: Origin) -> str:
    return "training images only" if _chose_by_test(origin) else "training and validation images together"


def _chose_by_test(origin: Origin) -> bool:
    return bool(origin.dataset["validation"] == "test")


def _figures(study: StudyResults, row: Mapping[Any, Any], origin: Origin) -> Iterator[str]:
    metric, folds = study.spec.objective[0].metric, study.spec.dataset.folds
    chose = "validation images" if folds == 1 else f"validation images, mean of {folds} folds"
    yield "| figure | value | measured on |"
    yield "|---|---|---|"
    yield f"| {metric}, trial {origin.trial} of the search | {_text(metric, row['value'])} | {chose} |"
    for name, column in ((metric, "value"), ("test_accuracy", "test_accuracy")):
        if mean := _mean(study, row, name, column):
            yield f"| {name}, {mean} | {'test images' if column == 'test_accuracy' else chose} |"
    for name, value in origin.test.items():
        yield f"| {name}, this model | {_text(name, value)} | {origin.images['test']:,} test images |"


def _mean(study: StudyResults, row: Mapping[Any, Any], name: str, column: str) -> str | None:
    """Describe the mean over a configuration's repeats.

    An example is `mean of 3 other seeds | 0.91 ± 0.02`. None without repeats.
    """
    table = confirmed(study.spec, study.trials, [column])
    found = table[table["number"] == _searched_as(row)].dropna(subset=column)
    if found.empty:
        return None
    mean, half = (found.iloc[0][key] for key in (column, f"{column}_half"))
    seeds = int(found["seeds"].iloc[0])
    interval = "" if is_missing(half) else f" ± {_text(name, half)}"
    return f"mean of {seeds} other seed{'s' if seeds > 1 else ''} | {_text(name, mean)}{interval}"


def _searched_as(row: Mapping[Any, Any]) -> int:
    """Return the trial that a row repeats, or its own number."""
    return int(row["number"] if is_missing(row["repeat_of"]) else row["repeat_of"])


def _text(metric: str, value: Any) -> str:
    return metric_text(metric, value) or "not defined"


def _limits(study: StudyResults, row: Mapping[Any, Any], config: TrainingConfig, origin: Origin) -> Iterator[str]:
    counts = counts_by_state(study.trials[is_search(study.trials)])
    tried = f"{counts['COMPLETE']} complete and {counts['PRUNED']} pruned trials"
    images = "test" if _chose_by_test(origin) else "validation"
    yield f"The {images} images chose among {tried}. The value of the best trial is too high for that reason."
    if row["state"] != "COMPLETE":
        yield f"Trial {origin.trial} is {row['state']}: no full training of its configuration was measured."
    if not is_finished(study.spec, study.trials):
        yield "The study was not finished when this model was trained."
    if origin.protocol != "clean":
        yield f"The protocol is `{origin.protocol}`, that of a published report."
    if config.evaluate != Evaluate():
        yield (
            "All figures are of evaluations as the recipe's `evaluate` sets them. `predict` never augments, and uses"
            " the learned statistics of batch norms. Its figures differ."
        )
    yield from _limits_of_test(origin)
    yield "`±` is half of a 95 % interval over seeds. It does not cover the choice of the images."
    yield "No figure tells of images of another kind: other cameras, places or times."


def _limits_of_test(origin: Origin) -> Iterator[str]:
    if _chose_by_test(origin):
        yield "The test images chose the configuration. Their figures are too high and estimate nothing."
        return
    yield (
        "This model was trained on the validation images too. It has no validation figure, because one would"
        " mean nothing. The figures of the search are of networks that were trained on fewer images."
    )
    yield (
        "The test images were not trained on, and chose nothing. They were measured once for this model, after"
        " its training. Whoever chooses among models by them makes the figure too high."
    )
