"""The dashboard of a study, asked as a browser does."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from optuna_dashboard import wsgi

from tests.search.test_searcher import Driven, study
from tests.support.waiting import PATIENCE, wait_until
from tuner.cli import optuna_tools
from tuner.cli.optuna_tools import dashboard, only_reading, serve
from tuner.errors import StudyError
from tuner.results.folder import StudyFolder
from tuner.search.optuna_export import Mirror


@pytest.fixture
def driven(tmp_path: Path) -> Driven:
    spec = study(trials=4)
    StudyFolder(tmp_path / "s").write_spec(spec)
    return Driven(spec, tmp_path / "s")


@pytest.fixture
def ask(driven: Driven) -> Callable[..., Any]:
    driven.run().tables.flush()
    app = only_reading(wsgi(Mirror(str(driven.tables.storage)).storage))

    def call(path: str, method: str = "GET", host: str = "127.0.0.1:8080") -> tuple[str, bytes]:
        status: list[str] = []
        environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "HTTP_HOST": host, "wsgi.url_scheme": "http"}
        body = b"".join(app(environ, lambda line, *_: status.append(line)))
        return status[0], body

    return call


@pytest.mark.slow
def test_dashboard_shows_trials_and_changes_nothing(ask: Callable[..., Any]) -> None:
    status, body = ask("/api/studies/0")
    assert status == "200 OK"
    assert [trial["state"] for trial in json.loads(body)["trials"]] == ["Complete", "Pruned", "Complete", "Fail"]
    assert ask("/api/studies/0", "DELETE")[0] == "403 Forbidden"
    assert ask("/api/studies/0", host="evil.example")[0] == "403 Forbidden"
    assert ask("/api/studies/0")[1] == body


@pytest.fixture
def server(driven: Driven, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(optuna_tools, "REFRESH_SECONDS", 0.01)
    with serve(Mirror(str(driven.tables.storage)), 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join(PATIENCE)


@pytest.mark.slow
def test_dashboard_follows_a_running_study(driven: Driven, server: int) -> None:
    def states() -> list[str]:
        with urlopen(f"http://127.0.0.1:{server}/api/studies/0?after=0") as answer:
            return [trial["state"] for trial in json.load(answer)["trials"]]

    assert states() == []
    driven.run(4).tables.flush()
    wait_until(lambda: "Running" in states())
    driven.run().tables.flush()
    wait_until(lambda: states() == ["Complete", "Pruned", "Complete", "Fail"])
    with pytest.raises(StudyError, match=rf"^--port: {server} cannot be used: .*; allowed: another port, 0 for any"):
        dashboard(str(driven.tables.storage), port=server)


def test_dashboard_names_the_missing_package(driven: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optuna_tools, "find_spec", lambda _: None)
    with pytest.raises(StudyError, match=r"optuna-dashboard is not installed; pip install 'tuner\[dashboard\]'"):
        dashboard(str(driven.tables.storage))
