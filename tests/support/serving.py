"""A page's server in a thread of the test."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tuner.report.server import LivePage, PageServer


@contextmanager
def serving(page: LivePage, port: int | None = None) -> Iterator[PageServer]:
    """Serve a page until the end of the block."""
    with PageServer(page, port) as served:
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield served
        finally:
            served.shutdown()
            thread.join()
