"""The page of a study, served to browsers on this machine and kept alive."""

import gzip
import hashlib
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any
from urllib.parse import quote, urlsplit

from tuner.errors import UserError, first_line, type_and_line
from tuner.report.document import data, render, to_json
from tuner.report.extras import Extras
from tuner.results.folder import StudyResults

ADDRESS = "127.0.0.1"
FIRST_PORT = 8640
"""Port that is tried first."""
PORTS = 20
"""Ports that are tried, before the system chooses one."""
LOOK_SECONDS = 1.0
"""Seconds between two looks at the tables, however many browsers ask."""
REST = 4.0
"""Multiple of a computation's time for which it does not begin again."""
LEAST_REST_SECONDS = 2.0
"""Seconds for which a computation does not begin again at least."""
EXTRAS_SECONDS = 60.0
"""Seconds for which importance and pictures are kept at least."""
REQUEST_SECONDS = 30.0
"""Seconds after which a silent connection is closed."""
_HOSTS = ("localhost", ADDRESS)
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'unsafe-inline'; img-src data: blob:; connect-src 'self'; form-action 'none'; base-uri 'none'",
}


@dataclass(frozen=True)
class Version:
    """State of the page at one time."""

    found: dict[str, Any]
    json: bytes
    tag: str
    """Name of this version, by its content."""


class LivePage:
    """The data of a study's page, computed once for all browsers.

    They are computed again only where rows are new, and for at most a fifth of the time. Importance
    and pictures take longest, so another thread finds them, and the page has them later.

    Args:
        load: Reads the study.
        gather: Finds what the page shows beside the tables.
        poll: Returns True if the study has new rows.
        status: Returns the state of the study in one line. It is never called during `poll`.

    Attributes:
        status: The state of the study at the last look.
    """

    def __init__(
        self,
        load: Callable[[], StudyResults],
        gather: Callable[[StudyResults], Extras],
        poll: Callable[[], bool],
        status: Callable[[], str],
    ) -> None:
        self._load, self._gather, self._poll, self._describe = load, gather, poll, status
        self._lock = threading.Lock()
        self._extras = Extras()
        self._gathering: threading.Thread | None = None
        self._looked_at = self._free_at = self._gather_at = 0.0
        self._is_stale, self._needs_extras = False, True
        self._version = self._compute()
        self.status = status()

    def look(self) -> Version:
        """Return the page's data, computed again if rows are new.

        While another browser's request computes, the data before are returned.
        """
        if self._lock.acquire(blocking=False):
            try:
                self._refresh()
            finally:
                self._lock.release()
        return self._version

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            if self._poll():
                self._is_stale = self._needs_extras = True
        self.status = self._describe()
        if self._is_stale and now >= self._free_at:
            self._is_stale = False
            try:
                self._version = self._compute()
            except BaseException:
                self._is_stale = True
                raise
        if self._needs_extras and now >= self._gather_at and self._gathering is None:
            self._needs_extras = False
            self._gathering = threading.Thread(target=self._find_extras, name="extras", daemon=True)
            self._gathering.start()

    def _compute(self) -> Version:
        begun = time.monotonic()
        found = data([self._load()], [self._extras])
        text = to_json(found).encode()
        self._free_at = _after(begun, LEAST_REST_SECONDS)
        return Version(found, text, hashlib.blake2b(text, digest_size=12).hexdigest())

    def _find_extras(self) -> None:
        """Gather the page's extras, and mark the page as stale."""
        begun = time.monotonic()
        try:
            with suppress(UserError, OSError):  # because the page can do without
                self._extras = self._gather(self._load())
                self._is_stale = True
        finally:
            self._gather_at, self._gathering = _after(begun, EXTRAS_SECONDS), None


def _after(begun: float, least: float) -> float:
    """Return when work that began at a time may begin again."""
    now = time.monotonic()
    return now + max(least, REST * (now - begun))


class PageServer(ThreadingHTTPServer):
    """A server of one page on this machine's own address.

    Args:
        page: The page.
        port: Its port. None: the first free port from `FIRST_PORT` on.

    Raises:
        UserError: The port is taken.
    """

    daemon_threads = True

    def __init__(self, page: LivePage, port: int | None = None) -> None:
        self.page = page
        self._bind(port)

    def _bind(self, port: int | None) -> None:
        ports = [port] if port is not None else [*range(FIRST_PORT, FIRST_PORT + PORTS), 0]
        for tried in ports:
            try:
                super().__init__((ADDRESS, tried), PageHandler)
            except OSError as error:
                reason = error.strerror
            else:
                return
        raise UserError(f"--port: {port} cannot be used: {reason}; allowed: a free port, or none to find one")

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a browser that left before its answer."""


class PageHandler(BaseHTTPRequestHandler):
    """Answers GET for the page and its data, and for nothing else."""

    server: PageServer
    timeout = REQUEST_SECONDS
    server_version, sys_version = "tuner", ""

    def do_GET(self) -> None:
        """Answer with the page, its data, or an error in one line."""
        host = self.headers.get("Host", "")
        if urlsplit(f"//{host}").hostname not in _HOSTS:  # because a name may be made to point here
            self._answer(HTTPStatus.FORBIDDEN, f"Host: found '{host[:80]}'; allowed: localhost\n".encode())
            return
        path = urlsplit(self.path).path
        if path not in ("/", "/data.json"):
            self._answer(HTTPStatus.NOT_FOUND, b"allowed: /\n")
            return
        try:
            version = self.server.page.look()
        except (UserError, OSError) as error:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, f"{first_line(error)}\n".encode())
            return
        except Exception as error:  # because the browser would say that this server has ended
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, f"{type_and_line(error)}\n".encode())
            return
        if path == "/":
            self._answer(HTTPStatus.OK, _html(version), "text/html")
        else:
            self._answer_data(version)

    def _answer_data(self, version: Version) -> None:
        """Answer with the data, unless the browser has this version."""
        headers = {"ETag": f'"{version.tag}"', "X-Status": quote(self.server.page.status)}
        if self.headers.get("If-None-Match") == headers["ETag"]:
            self._answer(HTTPStatus.NOT_MODIFIED, b"", "application/json", headers)
        else:
            self._answer(HTTPStatus.OK, version.json, "application/json", headers)

    def _answer(
        self, code: HTTPStatus, body: bytes, kind: str = "text/plain", headers: dict[str, str] | None = None
    ) -> None:
        own = {**_HEADERS, **(headers or {})}
        if len(body) > 1000 and "gzip" in self.headers.get("Accept-Encoding", ""):
            body, own["Content-Encoding"] = gzip.compress(body, 1), "gzip"
        self.send_response(code)
        for name, value in own.items():
            self.send_header(name, value)
        if code != HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


def _html(version: Version) -> bytes:
    """Return the page with the script that asks for newer data."""
    script = (files("tuner.report") / "templates" / "watch.js").read_text("utf-8")
    return render(version.found, script.replace("TAG", version.tag)).encode()
