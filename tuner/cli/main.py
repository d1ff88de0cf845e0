"""The command line's commands, its errors, and its exit codes.

| code | meaning |
|---|---|
| 0 | done |
| 1 | the study ran but no trial completed, a rerun differs, or Ray was lost |
| 2 | the user's mistake |
| 130 | interrupted, and can be resumed |
"""

import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Annotated, NoReturn

import typer

from tuner import __version__
from tuner.cli.compare import compare
from tuner.cli.data import data
from tuner.cli.explain import explain, importance
from tuner.cli.export import export
from tuner.cli.final import final
from tuner.cli.init import init
from tuner.cli.log import log
from tuner.cli.optuna_tools import dashboard, export_optuna
from tuner.cli.predict import predict
from tuner.cli.replay import replay
from tuner.cli.report import report
from tuner.cli.reproduce import reproduce
from tuner.cli.rerun import rerun
from tuner.cli.run import run, validate
from tuner.cli.show import best, list_studies, show
from tuner.cli.streams import exit_at_once, flush_or_discard, outlive_readers
from tuner.cli.submit import submit
from tuner.cli.tables import end_without_ray, err, out
from tuner.cli.watch import watch
from tuner.errors import INTERRUPTED, RayLostError, UserError
from tuner.storage.redaction import redact

app = typer.Typer(
    help="Hyperparameter search for PyTorch image classifiers: YAML in, Ray Tune and Optuna, Parquet out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    if version:
        out.print(f"tuner {__version__}")
        raise typer.Exit
    if debug:
        os.environ["TUNER_DEBUG"] = "1"


COMMANDS: dict[str, tuple[Callable[..., None], ...]] = {
    "Begin": (init, data, validate),
    "Search": (run, submit, watch, log),
    "Look": (list_studies, show, best, report, compare, dashboard),
    "Understand": (explain, importance, replay, rerun, reproduce),
    "Go on": (final, export, predict, export_optuna),
}
"""Commands by the heading under which `--help` lists them."""
NAMES = {list_studies: "ls", export_optuna: "export-optuna"}
"""Names of the commands whose functions have other names."""

for heading, commands in COMMANDS.items():
    for command in commands:
        app.command(NAMES.get(command), rich_help_panel=heading)(command)


def exit_with_error(error: UserError) -> NoReturn:
    """Print a user's mistakes, one per line, and exit with 2."""
    if os.environ.get("TUNER_DEBUG"):
        traceback.print_exception(error)
    for line in str(error).splitlines():
        err.print(redact(line), style="red", soft_wrap=True, markup=False)
    sys.exit(2)


def _show_warning(message: Warning | str, *_: object) -> None:
    err.print(redact(f"warning: {message}"), style="yellow", soft_wrap=True, markup=False)


def main() -> None:
    """Run the command line.

    A user's mistake is one line on standard error, with exit code 2.
    """
    outlive_readers()
    warnings.showwarning = _show_warning  # type: ignore[assignment]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except UserError as error:
        exit_with_error(error)
    except OSError as error:
        if error.filename is None:
            raise
        exit_with_error(UserError(f"{error.filename}: {error.strerror}; the same command tries again"))
    except RayLostError as error:
        end_without_ray(error)
    except KeyboardInterrupt:
        exit_at_once(INTERRUPTED)
    except SystemExit as end:
        if end.code == INTERRUPTED:
            exit_at_once(INTERRUPTED)
        raise
    finally:
        flush_or_discard()
