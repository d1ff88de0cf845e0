"""`final`: one model of a study's best configuration, trained on all images but the test's."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from tuner.cli.options import Data, Results, StudyName
from tuner.cli.show import read_study
from tuner.cli.tables import DEFAULT_RESULTS, out
from tuner.errors import StudyError
from tuner.storage import is_url


def final(
    study: StudyName,
    trial: Annotated[int | None, typer.Option("--trial", min=0, help="The trial to train; otherwise the best.")] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=1000, help="Number of models, with other seeds.")] = 1,
    out_folder: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="The folder to write; otherwise model/ in the study's folder."),
    ] = None,
    results: Results = DEFAULT_RESULTS,
    data: Data = None,
) -> None:
    """Train the best configuration, and keep the model.

    The model learns from the training and validation images.
    """
    from tuner.study.final import train_final  # late, because torch takes seconds

    found = read_study(study, results)
    folder = found.folder
    if out_folder is None and is_url(str(folder)):
        raise StudyError(f"{folder}: models are written to a disk; name a folder with --out DIR")
    target = out_folder or Path(str(folder), "model")
    say = partial(out.print, markup=False, highlight=False, soft_wrap=True)

    train_final(found, target, trial=trial, seeds=seeds, data=data, say=say)
    say(f"Model: {target}" if seeds == 1 else f"{seeds} models: {target}/1 to {target}/{seeds}")
    first = target if seeds == 1 else target / "1"
    say(f"Model card: {first}/README.md")
    say(f'In Python: model = tuner.load_model("{first}"); model.predict(model.read(["image.png"]))')
