"""Observers whose errors are tolerated."""

import pytest

from tuner.study.observer import NullObserver, Row, TolerantObserver


class Broken(NullObserver):
    """An observer whose output is closed."""

    def __init__(self, error: BaseException) -> None:
        self._error = error
        self.calls = 0

    def epoch_reported(self, row: Row, report: Row) -> None:  # noqa: ARG002
        self.calls += 1
        raise self._error


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError("full"), SystemExit(1), ValueError()])
def test_tolerant_observer_warns_once(error: BaseException) -> None:
    broken = Broken(error)
    observer = TolerantObserver(broken)
    with pytest.warns(UserWarning, match=f"the study goes on: {type(error).__name__}"):
        observer.epoch_reported({}, {})
    observer.epoch_reported({}, {})  # or else the second warning is an error
    assert broken.calls == 2


def test_tolerant_observer_lets_ctrl_c_pass() -> None:
    with pytest.raises(KeyboardInterrupt):
        TolerantObserver(Broken(KeyboardInterrupt())).epoch_reported({}, {})
