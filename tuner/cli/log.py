"""`log`: a study's trials in TensorBoard or MLflow, after the fact."""

from typing import Annotated

import typer

from tuner.cli.options import Results, StudyName
from tuner.cli.show import read_study
from tuner.cli.tables import DEFAULT_RESULTS, out
from tuner.errors import StudyError, UserError, type_and_line

To = Annotated[
    list[str] | None,
    typer.Option(
        "--to", metavar="NAME[=PLACE]", help="tensorboard, mlflow, or mlflow=URI. Default: the study's log_to."
    ),
]


def log(study: StudyName, to: To = None, results: Results = DEFAULT_RESULTS) -> None:
    """Complete a study's logs from its tables.

    The study must not be running.
    """
    from tuner.config.log_to import AUTO, LOG_NAMES, check_place
    from tuner.storage.redaction import redact
    from tuner.study.trial_logs import Follower, make_logs

    loaded = read_study(study, results)
    pairs = [each.partition("=") for each in to or []]
    try:
        chosen = {name: check_place(name, place or AUTO) for name, _, place in pairs}
    except ValueError as error:
        raise StudyError(f"--to: {error}") from None
    kept = {str(name): place for name, place in loaded.spec.log_to.items()}
    places = {name: kept.get(name, AUTO) if place == AUTO else place for name, place in chosen.items()} or kept
    if not places:
        raise StudyError(f"{loaded.folder}: log_to is empty; allowed: --to {' or --to '.join(LOG_NAMES)}")
    spec = loaded.spec.model_copy(update={"log_to": places})
    with loaded.folder.lock():
        for log_ in make_logs(spec, loaded.folder):
            try:
                Follower(log_, spec, loaded.folder).complete()
            except UserError:
                raise
            except Exception as error:  # because each library has errors of its own
                raise StudyError(f"{log_.name}: {type_and_line(error)}; the same command tries again") from None
            out.print(redact(f"{log_.name}: {log_.place}"), soft_wrap=True, markup=False)
