"""Section on what the best network gets wrong."""

import pandas as pd

from tuner.analysis.predictions import best_predictions, by_class, class_names, confused_pairs, confusion
from tuner.report import specs
from tuner.report.blocks import Block, Column, figure, plain, table, text
from tuner.report.context import Context
from tuner.report.extras import PAIRS, PICTURES_OF_A_PAIR
from tuner.results.folder import StudyResults

MOST_CLASSES, MOST_PAIRS = 60, 30
"""Classes of a drawn confusion matrix, and rows of the table of pairs, at most."""


def predictions(context: Context) -> list[Block]:
    """Show the confused classes, and how well each class is predicted."""
    found = best_predictions(context.study)
    if found.empty:
        said = "No predictions are kept. `predictions: [validation, test]` in the study file keeps them."
        return [text(context.id("no_predictions"), said)]
    names = _names(context, found)
    number, split = int(found["number"].iloc[0]), str(found["split"].iloc[0])
    wrong = int((found["label"] != found["predicted"]).sum())
    lead = f"Trial {number} gets {wrong:,} of {len(found):,} {split} images wrong."
    pairs = confused_pairs(found)
    return [
        text(context.id("wrong"), lead),
        *_matrix(context, found, names),
        _class_table(context, found, names),
        _pair_table(context, pairs, names),
        *_pictures(context, pairs, names),
    ]


def pictured(study: StudyResults) -> tuple[str, list[int]]:
    """Return the split and the images of which a page shows pictures."""
    found = best_predictions(study)
    if found.empty:
        return "", []
    images = confused_pairs(found, PAIRS)["indices"]
    return str(found["split"].iloc[0]), [int(index) for each in images for index in each[:PICTURES_OF_A_PAIR]]


def _names(context: Context, found: pd.DataFrame) -> list[str]:
    """Name the classes, with a number behind names that occur twice."""
    names, own = class_names(context.study, found), [*map(str, context.extras.classes)]
    known = [plain(name) for name in (own if len(own) >= len(names) else names)]
    return [name if known.count(name) == 1 else f"{name} ({label})" for label, name in enumerate(known)]


def _matrix(context: Context, found: pd.DataFrame, names: list[str]) -> list[Block]:
    if len(names) > MOST_CLASSES:
        said = f"{len(names)} classes are too many for a matrix. The most confused pairs are below."
        return [text(context.id("no_matrix"), said)]
    counts = confusion(found)
    rows = counts.assign(**{name: counts[name].map(names.__getitem__) for name in ("label", "predicted")})
    spec = specs.confusion(context.add("confusion", rows), names)
    caption = "True classes go down, predicted ones across. The shade is the share of the true class."
    return [figure(context.id("matrix"), "Confusion matrix", spec, caption, width="half")]


def _class_table(context: Context, found: pd.DataFrame, names: list[str]) -> Block:
    measured = by_class(found, names)
    cells = [
        Column("class", "text", measured["class"].tolist()),
        Column("images", "whole", measured["support"].tolist()),
    ]
    cells += [Column(name, "share", measured[name].tolist()) for name in ("precision", "recall", "f1")]
    return table(context.id("classes"), "By class", cells, noun="classes") | {"width": "half"}


def _pair_table(context: Context, pairs: pd.DataFrame, names: list[str]) -> Block:
    shown = pairs.head(MOST_PAIRS)
    cells = [
        Column("true class", "text", [names[label] for label in shown["label"]]),
        Column("predicted", "text", [names[label] for label in shown["predicted"]]),
        Column("images", "whole", shown["count"].tolist()),
        Column("of the true class", "percent", shown["share"].tolist()),
    ]
    return table(context.id("pairs"), "Most confused pairs", cells, total=len(pairs), noun="pairs") | {"width": "half"}


def _pictures(context: Context, pairs: pd.DataFrame, names: list[str]) -> list[Block]:
    """Show pictures of the most confused pairs, or why there are none."""
    extras, groups = context.extras, []
    for pair in pairs.head(PAIRS).to_dict("records"):
        title = f"{names[pair['label']]}, predicted {names[pair['predicted']]}"
        own = [index for index in pair["indices"][:PICTURES_OF_A_PAIR] if index in extras.pictures]
        images = [{"src": extras.pictures[index], "alt": f"image {index}: {title}"} for index in own]
        groups += [{"title": title, "images": images}] if images else []
    if not groups:
        return [text(context.id("no_pictures"), extras.no_pictures)] if extras.no_pictures else []
    title = "Pictures of the most confused pairs"
    return [{"kind": "pictures", "id": context.id("pictures"), "title": title, "groups": groups, "width": "half"}]
