"""A page's data, and the HTML around it."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache, partial
from importlib.resources import files
from typing import Any

import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tuner import __version__
from tuner.analysis.compare import label as name_studies
from tuner.errors import UserError, first_line, printable
from tuner.plots import style
from tuner.report import curves, origins, parameters, predictions, ranking
from tuner.report.answer import answer
from tuner.report.blocks import Block, Columns, text
from tuner.report.comparing import comparison
from tuner.report.context import Context
from tuner.report.extras import Extras
from tuner.results.folder import StudyResults

Section = dict[str, Any]
Part = dict[str, Any]
Maker = Callable[[Context], list[Block]]
SECTIONS: dict[str, tuple[Maker, ...]] = {
    "Leaderboard": (ranking.leaderboard,),
    "Objectives": (curves.fronts,),
    "Learning curves": (curves.learning_curves, ranking.rungs),
    "Progress": (curves.progress,),
    "Parameters": (parameters.parallel, parameters.importance, parameters.heat_map),
    "Slices": (parameters.slices,),
    "Predictions": (predictions.predictions,),
    "Trials": (ranking.trials,),
    "Failures": (ranking.failures,),
    "Time": (origins.costs,),
    "Provenance": (origins.provenance,),
}
"""The sections of a study, with what makes their blocks."""


def data(studies: Sequence[StudyResults], extras: Sequence[Extras] = ()) -> dict[str, Any]:
    """Return all that a page shows, as JSON holds it.

    Args:
        studies: One study, or several to be compared.
        extras: What is shown beside the tables, one per study. Missing ones are empty.
    """
    datasets: dict[str, Columns] = {}
    labels = [printable(name) for name in name_studies(studies)]
    beside = [*extras, *(Extras() for _ in studies)][: len(studies)]
    contexts = [
        Context(study, f"s{index}", own, datasets)
        for index, (study, own) in enumerate(zip(studies, beside, strict=True))
    ]
    parts = [study_part(context, label) for context, label in zip(contexts, labels, strict=True)]
    if len(studies) > 1:
        blocks = _blocks("comparison", lambda: comparison(studies, datasets))
        parts.insert(0, {"id": "all", "title": "Comparison", "lead": blocks, "names": {}, "sections": []})
    return {
        "title": ", ".join(labels),
        "made": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC by tuner {__version__}",
        "parts": parts,
        "datasets": datasets,
    }


def study_part(context: Context, title: str) -> Part:
    """Return the sections of one study."""
    context.add_trials()
    sections = [_section(context.id(name.split()[0].lower()), name, maker, context) for name, maker in SECTIONS.items()]
    lead = _blocks(context.id("lead"), lambda: answer(context))
    shown = [each for each in sections if each["blocks"]]
    return {"id": context.key, "title": title, "lead": lead, "names": context.names(), "sections": shown}


def _section(key: str, title: str, makers: Sequence[Maker], context: Context) -> Section:
    blocks = [block for maker in makers for block in _blocks(f"{key}_{maker.__name__}", partial(maker, context))]
    return {"id": f"section_{key}", "title": title, "blocks": blocks}


def _blocks(key: str, make: Callable[[], list[Block]]) -> list[Block]:
    """Return the blocks of a section, or why it cannot be shown."""
    try:
        return make()
    except UserError as error:
        return [text(f"{key}_unreadable", f"This section cannot be shown: {first_line(error)}")]


def page(studies: Sequence[StudyResults], extras: Sequence[Extras] = (), script: str = "") -> str:
    """Return a self-contained HTML page.

    Args:
        studies: One study, or several to be compared.
        extras: What is shown beside the tables, one per study. Missing ones are empty.
        script: JavaScript to run after the first drawing, for a page that is served.
    """
    return render(data(studies, extras), script)


def render(found: Mapping[str, Any], script: str = "") -> str:
    """Return the page that shows the data, see `page`."""
    return (
        _environment()
        .get_template("page.html")
        .render(
            page=found,
            json=Markup(to_json(found)),
            library=Markup(_library()),
            own=Markup(_file("page.js")),
            css=Markup(_file("page.css")),
            script=Markup(script),
            colours=COLOURS,
        )
    )


def to_json(found: Mapping[str, Any]) -> str:
    """Write data as compact JSON that may stand in a script element."""
    written = json.dumps(found, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return written.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


COLOURS = {
    "complete": (style.BLUE, style.SKY),
    "stopped": (style.GREY, style.GREY),
    "failed": (style.VERMILION, style.VERMILION),
    "waiting": (style.PURPLE, style.PURPLE),
    "running": (style.GREEN, style.GREEN),
    "accent": (style.ORANGE, style.ORANGE),
    "second": (style.VERMILION, style.VERMILION),
    "ink": (style.INK, "#E4E7EA"),
    "muted": ("#66707A", "#98A2AC"),
    "grid": (style.GRID, "#2C3238"),
    "surface": ("#FFFFFF", "#181B1F"),
    "raised": ("#F6F7F8", "#20252A"),
    "low": ("#EAF2F8", "#1E2A33"),
    "high": (style.BLUE, style.SKY),
    "on_high": ("#FFFFFF", "#101316"),
}
"""Colours of the light and of the dark page, those of the fates as in `tuner.plots.style`."""


@cache
def _library() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script."""
    return (
        str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))
        .replace("</script", "<\\/script")
        .replace("<!--", "<\\!--")
    )


@cache
def _file(name: str) -> str:
    return (files("tuner.report") / "templates" / name).read_text("utf-8")


@cache
def _environment() -> Environment:
    return Environment(loader=PackageLoader("tuner.report"), autoescape=True, undefined=StrictUndefined)
