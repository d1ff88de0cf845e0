"""A real Chromium for tests of pages, started once for all of them."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support.waiting import PATIENCE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PATIENCE_MILLISECONDS = 1000.0 * PATIENCE
"""Milliseconds to wait for what a page does."""


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    """A Chromium without a window. Tests are skipped where there is none."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("there is no Chromium on this machine: apt-get install chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


@contextmanager
def open_page(browser: "Browser", address: str, width: int = 1440, *, dark: bool = False) -> "Iterator[Page]":
    """Open an address in a new window. Fail at its end if the page has complained of anything."""
    complaints: list[str] = []
    scheme = "dark" if dark else "light"
    with browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme) as window:
        page = window.new_page()
        page.set_default_timeout(PATIENCE_MILLISECONDS)
        page.on("console", lambda line: complaints.append(f"{line.type}: {line.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("response", lambda answer: answer.status >= 500 and complaints.append(answer.text()))
        page.on("requestfailed", lambda request: complaints.append(f"failed: {request.url}"))
        page.goto(address)
        yield page
        assert not complaints, complaints  # before the window closes, because a request under way fails then
