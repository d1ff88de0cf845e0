"""Arguments and options that several commands share."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli.completion import complete_study, complete_study_file

if TYPE_CHECKING:
    from tuner.config.study import StudyConfig

# readable=False, because typer refuses what may not be read in a box of five lines
StudyFile = Annotated[
    Path,
    typer.Argument(metavar="STUDY.yaml", help="The study file.", readable=False, autocompletion=complete_study_file),
]
Results = Annotated[
    str,
    typer.Option("--results", envvar="TUNER_RESULTS", help="The results directory, or s3://BUCKET/PREFIX."),
]
Data = Annotated[
    Path | None,
    typer.Option("--data", envvar="TUNER_DATA", help="The folder to look for data sets in first.", readable=False),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="PLACE=VALUE", help="Change a setting: --set search.trials=64.")
]
Name = Annotated[str | None, typer.Option("--name", help="Name of the study, instead of the file's.")]
StudyName = Annotated[
    str,
    typer.Argument(metavar="STUDY", help="Name of a study, or the path of its folder.", autocompletion=complete_study),
]
Top = Annotated[
    int | None,
    typer.Option("--top", min=1, help="How many of the best trials are shown: 10, or all for programs."),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address", help="A running Ray cluster: auto, HOST:PORT or ray://HOST:PORT; otherwise this machine."
    ),
]
HttpAddress = Annotated[str, typer.Option("--address", help="The cluster's head: http://HOST:8265.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Start over; the earlier study is moved aside.")]
AcceptChanges = Annotated[
    bool, typer.Option("--accept-changes", help="Resume in spite of changed images, code or precision; recorded.")
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Open FAILED trials again, for example after a network was mended.")
]


def load_study_file(study: Path, settings: list[str] | None, name: str | None) -> "StudyConfig":
    """Read a study file with the settings of the command line."""
    from tuner.config.study import load_spec

    # in quotes, because YAML reads 1355700, true and 2024-01-01 as other things than text
    quoted = [] if name is None else [f"study={json.dumps(name, ensure_ascii=False)}"]
    return load_spec(study, [*(settings or []), *quoted])
