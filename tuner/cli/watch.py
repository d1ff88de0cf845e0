"""`watch`: a study that any process runs, in a browser or in the terminal."""

import getpass
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer
from rich.live import Live

from tuner.cli.options import Results, StudyName
from tuner.cli.show import find_study
from tuner.cli.streams import until_interrupted
from tuner.cli.tables import DEFAULT_RESULTS, out, show_study
from tuner.errors import UserError

if TYPE_CHECKING:
    from tuner.report.server import LivePage
    from tuner.results.folder import StudyFolder
    from tuner.study.following import StudyFollower

POLL_SECONDS = 2.0
"""Seconds between two looks at the names of a study's parts."""
LINE_SECONDS = 30.0
"""Seconds between two lines about a study, without a terminal."""


def watch(
    study: StudyName,
    results: Results = DEFAULT_RESULTS,
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65535, help="The port of the page, instead of a free one.")
    ] = None,
    terminal: Annotated[bool, typer.Option("--terminal", help="Show the live panel in this terminal.")] = False,
) -> None:
    """Serve the page of a study, and add new rows.

    The study may run here or elsewhere.
    """
    if terminal and port:
        raise UserError("--port: only without --terminal, which serves no page")
    folder = find_study(study, results)
    if terminal:
        watch_in_terminal(folder)
    else:
        serve(folder, port)


def serve(folder: "StudyFolder", port: int | None) -> None:
    """Serve the page of a study until the user ends it."""
    from tuner.report.server import PageServer

    with PageServer(make_page(folder), port) as server, until_interrupted():
        for line in describe_server(folder.name, server.server_port):
            out.print(line, soft_wrap=True, highlight=False, markup=False)
        server.serve_forever()


def make_page(folder: "StudyFolder") -> "LivePage":
    """Make the page of a study, with its progress as status."""
    from tuner.cli.live import describe_progress
    from tuner.cli.report import gather_extras
    from tuner.report.server import LivePage
    from tuner.results.folder import load_study
    from tuner.study.following import StudyFollower

    follower = StudyFollower(folder)

    def status() -> str:
        return f"{describe_progress(follower.progress)}; {follower.note or follower.state}"

    return LivePage(lambda: load_study(str(folder)), gather_extras, follower.poll, status)


def describe_server(name: str, port: int) -> list[str]:
    """Return the address of a page.

    In a shell over SSH, a second line tells how to reach the page from the user's machine.
    """
    lines = [f"{name}: http://localhost:{port} (Ctrl-C ends)"]
    if len(client := os.environ.get("SSH_CONNECTION", "").split()) == 4:
        lines.append(f"From your machine: ssh -L {port}:localhost:{port} {getpass.getuser()}@{client[2]}")
    return lines


def watch_in_terminal(folder: "StudyFolder") -> None:
    """Show the live panel until the study finishes or the user leaves.

    The study's leaderboard is printed at the end.
    """
    from tuner.results.folder import load_study
    from tuner.study.following import StudyFollower

    follower = StudyFollower(folder)
    with suppress(KeyboardInterrupt):
        _show_panel(follower) if out.is_terminal else _print_lines(follower)
    show_study(load_study(str(folder)), 5)


def _show_panel(follower: "StudyFollower") -> None:
    """Draw the panel twice a second, and follow the tables."""
    from tuner.cli.panel import Panel

    panel = Panel(lambda: follower.progress, lambda: follower.note)
    with Live(panel, console=out, refresh_per_second=2, transient=True):
        while follower.state != "finished":
            time.sleep(POLL_SECONDS)
            follower.poll()


def _print_lines(follower: "StudyFollower") -> None:
    """Print a line when rows are new or the state changes."""
    from tuner.cli.live import describe_progress

    printed_at, state, has_news = 0.0, None, True
    while True:
        is_due = has_news and time.monotonic() - printed_at > LINE_SECONDS
        if is_due or state != follower.state:
            note = f"; {follower.note}" if follower.note else ""
            out.print(f"{describe_progress(follower.progress)}{note}", soft_wrap=True, highlight=False, markup=False)
            printed_at, state, has_news = time.monotonic(), follower.state, False
        if follower.state == "finished":
            return
        time.sleep(POLL_SECONDS)
        has_news = follower.poll() or has_news
