"""`export`: a study's model as one file for other programs."""

from pathlib import Path
from typing import Annotated

import typer

from tuner.cli.options import Data, Results, StudyName
from tuner.cli.show import read_study
from tuner.cli.tables import DEFAULT_RESULTS, out


def export(
    study: StudyName,
    trial: Annotated[
        int | None,
        typer.Option("--trial", min=0, help="A trial with kept weights; otherwise the final model or the best trial."),
    ] = None,
    format_name: Annotated[
        str | None,
        typer.Option("--format", help="safetensors, pt2, torchscript or onnx; otherwise by FILE's ending."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="The file to write; otherwise STUDY.safetensors.")
    ] = None,
    results: Results = DEFAULT_RESULTS,
    data: Data = None,
) -> None:
    """Write the network to one file, with preprocessing and class names."""
    from tuner.training.formats import ENDINGS, check_format, format_of

    chosen = check_format(format_name or (output and format_of(output)) or "safetensors")
    found = read_study(study, results)
    target = output or Path(f"{found.spec.study}{ENDINGS[chosen]}")

    from tuner.study.export import export_model  # late, because torch takes seconds

    about, images, difference = export_model(found, target, chosen, trial=trial, root=data)
    lines = (
        f"Written: {target}",
        f"Network: {about.summary}",
        f"Checked: {images} images of the study, probabilities differ by {difference:.1g} at most",
    )
    for line in lines:
        out.print(line, markup=False, highlight=False, soft_wrap=True)
