"""Plots without a window. The figures of a test are closed after it."""

from collections.abc import Iterator

import matplotlib as mpl
import pytest


@pytest.fixture(autouse=True)
def figures() -> Iterator[None]:
    mpl.use("agg")
    yield
    mpl.pyplot.close("all")
