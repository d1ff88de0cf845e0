"""`export-optuna` and `dashboard`: a study for those who use Optuna's own tools."""

import threading
import time
import warnings
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Annotated, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import typer

from tuner.cli.options import Results, StudyName
from tuner.cli.show import find_study, read_study
from tuner.cli.streams import until_interrupted
from tuner.cli.tables import DEFAULT_RESULTS, out
from tuner.errors import StudyError, type_and_line
from tuner.storage.redaction import redact

if TYPE_CHECKING:
    from tuner.search.optuna_export import Mirror

REFRESH_SECONDS = 2.0
"""Seconds between two looks at the tables of a study."""
REFRESH_SHARE = 5
"""Seconds to wait for each second that reading the tables takes, because they may be large."""
HOST = "127.0.0.1"

Storage = Annotated[str, typer.Option("--storage", metavar="URL", help="Storage of Optuna: sqlite:///optuna.db.")]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port on this machine. 0: any that is free.")]


def export_optuna(study: StudyName, storage: Storage, results: Results = DEFAULT_RESULTS) -> None:
    """Write the finished trials of a study into a storage of Optuna."""
    from tuner.search.optuna_export import export_study

    name, added, known = export_study(read_study(study, results), storage)
    out.print(
        redact(f"Study {name} in {storage}: {added} trials added, {known} were there"), markup=False, soft_wrap=True
    )
    call = f"optuna.load_study(study_name={name!r}, storage={storage!r})"
    out.print(redact(f"  in Python: {call}"), markup=False, soft_wrap=True)


def dashboard(study: StudyName, results: Results = DEFAULT_RESULTS, port: Port = 8080) -> None:
    """Serve optuna-dashboard for a study, on this machine only.

    The study may be running or finished.
    """
    if find_spec("optuna_dashboard") is None:
        raise StudyError("optuna-dashboard is not installed; pip install 'tuner[dashboard]'")
    from tuner.search.optuna_export import Mirror

    warnings.filterwarnings("ignore", module="optuna")  # because figures of few trials warn
    mirror = Mirror(str(find_study(study, results)))
    with serve(mirror, port) as server, until_interrupted():
        out.print(f"http://{HOST}:{server.server_port}/ shows {study}; Ctrl-C ends it", markup=False, soft_wrap=True)
        server.serve_forever()


def serve(mirror: "Mirror", port: int) -> "_Server":
    """Start to follow a study, and return a server of its dashboard.

    Raises:
        StudyError: The port is in use.
    """
    from optuna_dashboard import wsgi

    try:
        server = make_server(HOST, port, only_reading(wsgi(mirror.storage)), _Server, _SilentHandler)
    except OSError as error:
        raise StudyError(f"--port: {port} cannot be used: {error.strerror}; allowed: another port, 0 for any") from None
    threading.Thread(target=_follow, args=(mirror, server.closed), daemon=True).start()
    return server


def _follow(mirror: "Mirror", closed: threading.Event) -> None:
    """Keep the storage equal to the tables until its server is closed."""
    has_warned, pause = False, 0.0
    while not closed.wait(pause):
        begun = time.monotonic()
        try:
            mirror.refresh()
        except Exception as error:  # such as a disk or store that is away for a while
            if not has_warned:
                warnings.warn(f"the tables cannot be read: {type_and_line(error)}; tried again", stacklevel=2)
            has_warned = True
        pause = max(REFRESH_SECONDS, REFRESH_SHARE * (time.monotonic() - begun))


def only_reading(app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """Refuse requests that would change the storage.

    They are refused because their changes would be lost. Requests under another machine's name are
    refused too, because a foreign page may send them.
    """

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        host = str(environ.get("HTTP_HOST", "")).rpartition(":")[0] or str(environ.get("HTTP_HOST", ""))
        if environ["REQUEST_METHOD"] in ("GET", "HEAD") and host in (HOST, "localhost"):
            return app(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "application/json")])
        return [b'{"reason": "This dashboard only shows a study, on its own machine."}']

    return answer


class _Server(ThreadingMixIn, WSGIServer):
    """A server that answers several requests at once.

    Attributes:
        closed: Set when the server is closed.
    """

    daemon_threads = True

    def __init__(self, *args: Any, **settings: Any) -> None:
        self.closed = threading.Event()
        super().__init__(*args, **settings)

    def server_close(self) -> None:
        """Close the server."""
        self.closed.set()
        super().server_close()


class _SilentHandler(WSGIRequestHandler):
    """A handler that logs no requests."""

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""
