"""The page of a study, served."""

import gzip
import http.client
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.support.browser import open_page
from tests.support.serving import serving
from tests.support.studies import epoch_rows, trial_row, write_study
from tests.support.waiting import PATIENCE, wait_until
from tuner.errors import StudyError, UserError
from tuner.report import Extras, server
from tuner.report.server import LivePage, PageServer
from tuner.results.folder import StudyResults, load_study


class Source:
    """A study whose news a test tells, with counts of what is read."""

    def __init__(self, folder: Path) -> None:
        self.study = write_study(folder, {"search": {"trials": 9}})
        self.has_news = False
        self.loads = self.gathered = 0
        self.trouble: Exception | None = None
        self.extras = Extras()
        self.holds = threading.Event()
        self.holds.set()

    def add(self, number: int) -> None:
        """Write a completed trial."""
        tables = self.study.folder.tables(self.study.spec)
        for row in epoch_rows(number, [0.5, 0.6]):
            tables.append("epochs", row)
        tables.append("trials", trial_row(number, 0.6, epochs_run=2))
        tables.flush()
        self.has_news = True

    def poll(self) -> bool:
        news, self.has_news = self.has_news, False
        return news

    def load(self) -> StudyResults:
        self.loads += 1
        if self.trouble is not None:
            raise self.trouble
        return load_study(str(self.study.folder))

    def gather(self, _: StudyResults) -> Extras:
        assert self.holds.wait(PATIENCE)
        self.gathered += 1
        return self.extras

    def page(self) -> LivePage:
        return LivePage(self.load, self.gather, self.poll, lambda: "3 of 9 trials, größte 0.9")


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    monkeypatch.setattr(server, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(server, "LEAST_REST_SECONDS", 0.0)
    monkeypatch.setattr(server, "REST", 0.0)
    return Source(tmp_path / "served")


Ask = Callable[..., tuple[int, dict[str, str], bytes]]


@pytest.fixture
def ask(source: Source) -> Iterator[Ask]:
    """Ask the server of a study with one trial."""
    source.add(0)
    with serving(source.page()) as served:

        def ask(path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
            connection = http.client.HTTPConnection("127.0.0.1", served.server_port)
            connection.request(method, path, headers={"Host": f"localhost:{served.server_port}", **headers})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()

        yield ask


@pytest.mark.slow
def test_page_and_data_are_served(ask: Ask) -> None:
    status, headers, body = ask("/?now")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b"<title>served</title>" in body
    assert b'fetch("data.json"' in body
    status, headers, body = ask("/data.json", **{"Accept-Encoding": "gzip"})
    found = json.loads(gzip.decompress(body))
    assert (status, found["title"]) == (200, "served")
    assert headers["X-Status"] == "3%20of%209%20trials%2C%20gr%C3%B6%C3%9Fte%200.9"


@pytest.mark.slow
def test_known_version_is_not_sent_again(ask: Ask, source: Source) -> None:
    _, headers, _ = ask("/data.json")
    status, again, body = ask("/data.json", **{"If-None-Match": headers["ETag"]})
    assert (status, body, again["X-Status"]) == (304, b"", headers["X-Status"])
    source.add(1)
    status, again, body = ask("/data.json", **{"If-None-Match": headers["ETag"]})
    assert status == 200
    assert again["ETag"] != headers["ETag"]
    assert trial_numbers(body) == [0, 1]


@pytest.mark.slow
def test_page_has_the_version_of_its_data(ask: Ask) -> None:
    _, headers, _ = ask("/data.json")
    assert f"let tag = '{headers['ETag']}'".encode() in ask("/")[2]


def trial_numbers(body: bytes) -> list[Any]:
    return sorted(json.loads(body)["datasets"]["s0_trials"]["trial"])


def test_only_the_page_is_served(ask: Ask) -> None:
    for host in ("evil.example", "evil.example:8640", "localhost.evil.example", "", "127.0.0.2"):
        status, headers, body = ask("/data.json", Host=host)
        assert (status, body.decode()) == (403, f"Host: found '{host}'; allowed: localhost\n")
        assert "ETag" not in headers
    for host in ("localhost", "127.0.0.1:9", "LOCALHOST:8000"):
        assert ask("/data.json", Host=host)[0] == 200
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "HEAD"):
        assert ask("/", method)[0] == 501
    for path in ("/../study.yaml", "/study.yaml", "/data.json/", "/%2e%2e/x", "x"):
        assert ask(path)[0] in (400, 404)


@pytest.mark.slow
def test_data_are_computed_only_for_new_rows(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    page = source.page()
    monkeypatch.setattr(page, "_gather_at", float("inf"))
    for _ in range(5):
        page.look()
    assert source.loads == 1
    source.add(0)
    page.look()
    page.look()
    assert source.loads == 2
    monkeypatch.setattr(page, "_free_at", float("inf"))
    source.add(1)
    before = page.look()
    assert source.loads == 2
    monkeypatch.setattr(page, "_free_at", 0.0)
    assert page.look().tag != before.tag


@pytest.mark.slow
def test_unreadable_study_is_read_again(ask: Ask, source: Source) -> None:
    source.add(1)
    source.trouble = StudyError("s3://bucket: no answer")
    assert ask("/data.json")[::2] == (503, b"s3://bucket: no answer\n")
    source.trouble = KeyError("state")
    assert ask("/data.json")[::2] == (500, b"KeyError: 'state'\n")
    source.trouble = None
    assert trial_numbers(ask("/data.json")[2]) == [0, 1]


@pytest.mark.slow
def test_taken_port_is_refused_or_passed_over(source: Source) -> None:
    with serving(source.page()) as first:
        with pytest.raises(UserError) as caught:
            PageServer(source.page(), first.server_port)
        assert str(caught.value) == (
            f"--port: {first.server_port} cannot be used: Address already in use; "
            "allowed: a free port, or none to find one"
        )
        with serving(source.page()) as second:
            assert second.server_port != first.server_port
            assert first.server_address[0] == second.server_address[0] == "127.0.0.1"


@pytest.mark.slow
def test_extras_come_later_and_rest(source: Source) -> None:
    source.holds.clear()
    source.add(0)
    page = source.page()
    page.look()
    page.look()
    assert (source.gathered, page._extras) == (0, Extras())
    source.extras, loads = Extras(no_pictures="There are no pictures here."), source.loads
    source.holds.set()
    wait_until(lambda: page.look() and source.loads > loads)  # because the page is computed again with them
    assert page._extras is source.extras
    source.add(1)
    page.look()
    page._gather_at = 0.0
    wait_until(lambda: page.look() and source.gathered == 2)


@pytest.mark.slow
def test_browser_sees_new_trial_in_place(browser: Browser, source: Source) -> None:
    source.add(0)
    with serving(source.page()) as served, open_page(browser, f"http://localhost:{served.server_port}") as page:
        page.evaluate("report.ready")
        page.locator("#s0_all_trials tr[data-trial='0']").click()
        page.evaluate("window.mark = 'same'")
        assert page.locator("#kept").inner_text() == "trial 0"
        place = page.locator("#s0_all_trials").bounding_box()
        source.add(1)
        page.locator("#s0_all_trials tr[data-trial='1']").wait_for()
        assert page.evaluate("window.mark") == "same"
        moved = page.locator("#s0_all_trials").bounding_box()
        assert place is not None
        assert moved is not None
        assert moved["y"] == pytest.approx(place["y"], abs=2)  # although the leaderboard above has grown
        assert page.locator("#kept").inner_text() == "trial 0"
        with page.expect_response("**/data.json"):
            pass
        assert page.locator("#status").inner_text() == "3 of 9 trials, größte 0.9"


@pytest.mark.slow
def test_page_tells_that_server_has_ended(browser: Browser, source: Source) -> None:
    with browser.new_context() as window:
        page = window.new_page()
        with serving(source.page()) as served:
            page.goto(f"http://localhost:{served.server_port}")
            page.evaluate("report.ready")
        page.locator("#status", has_text="No news: tuner watch has ended").wait_for()
