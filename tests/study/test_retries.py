"""Retries: the attempt that follows a failed one."""

import pytest

from tuner.errors import (
    DataError,
    DeviceError,
    NotFiniteError,
    OutOfMemoryError,
    SpecError,
    StudyError,
    TrialError,
)
from tuner.study.failures import LOST_NODE, ErrorKind, Failure, kind_of_error
from tuner.study.retries import BACKOFF_SECONDS, Retries


def failure(number: int, kind: ErrorKind, cause: str = "DataError") -> Failure:
    return Failure(number, kind, cause, f"{cause}: gone", "node")


def lose(retries: Retries, number: int, cause: str = "DataError") -> None:
    """Begin an attempt that the environment ends."""
    retries.began(number)
    assert retries.failed(failure(number, "environment", cause)) is not None


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NotFiniteError("loss is nan"), "diverged"),
        (OutOfMemoryError("too large"), "memory"),
        (MemoryError(), "memory"),
        (TrialError("no"), "configuration"),
        (SpecError("dense: 0"), "configuration"),
        (DataError("gone"), "environment"),
        (DeviceError("no GPU"), "environment"),
        (StudyError("the store refuses"), "environment"),
        (FileNotFoundError("gone"), "environment"),
        (ConnectionResetError(), "environment"),
        (RuntimeError("bug"), "crash"),
        (ZeroDivisionError(), "crash"),
    ],
)
def test_kind_of_error_follows_its_class(error: Exception, kind: str) -> None:
    assert kind_of_error(error) == kind


@pytest.mark.parametrize("kind", ["diverged", "configuration"])
def test_retries_end_a_trial_at_fault(kind: ErrorKind) -> None:
    assert Retries(5).failed(failure(0, kind)) is None


def test_retries_count_crashes_of_each_trial() -> None:
    retries = Retries(2)
    for _ in range(2):
        retry = retries.failed(failure(0, "crash"))
        assert retry is not None
        assert (retry.avoid, retry.alone, retry.not_before) == ("node", False, 0.0)
    assert retries.failed(failure(1, "crash")) is not None
    assert retries.failed(failure(0, "crash")) is None


def test_retries_count_crashes_of_earlier_runs() -> None:
    assert Retries(1, [(0, "crash"), (0, "environment")]).failed(failure(0, "crash")) is None
    assert Retries(1, [(0, "environment")]).failed(failure(0, "crash")) is not None
    reopened = Retries(1, [(0, "crash"), (0, "crash")])  # which had ended the trial
    assert reopened.failed(failure(0, "crash")) is not None


def test_retries_try_memory_once_more_alone() -> None:
    retries = Retries(0)
    retry = retries.failed(failure(0, "memory"))
    assert retry is not None
    assert retry.alone
    assert retries.failed(failure(0, "memory")) is None


def test_retries_back_off_from_the_environment() -> None:
    retries = Retries(0, clock=lambda: 1000.0)
    waited = []
    for number in range(2):
        retries.began(number)
        retry = retries.failed(failure(number, "environment"))
        assert retry is not None
        assert retry.holds
        waited.append(retry.not_before - 1000.0)
    assert waited == list(BACKOFF_SECONDS)


def test_retries_stop_after_three_in_a_row() -> None:
    retries = Retries(0)
    lose(retries, 0)
    lose(retries, 1)
    assert retries.stop_reason is None
    lose(retries, 2)
    reason = retries.stop_reason
    assert reason == "3 attempts in a row failed (trials 0, 1, 2): DataError: gone"


def test_retries_bear_failures_between_successes() -> None:
    retries = Retries(0)
    for number in range(20):
        lose(retries, number)
        retries.began(number)
        retries.succeeded(number)
    assert retries.stop_reason is None


def test_retries_count_one_event_once() -> None:
    retries = Retries(0)
    for number in range(5):
        retries.began(number)
    for number in range(5):
        retries.failed(failure(number, "environment"))
    assert retries.stop_reason is None


def test_retries_ignore_success_of_earlier_attempts() -> None:
    retries = Retries(0)
    retries.began(9)  # has its data in memory
    for number in range(3):
        lose(retries, number)
        retries.succeeded(9)
    assert retries.stop_reason is not None


def test_retries_bear_different_causes() -> None:
    retries = Retries(0)
    for number, cause in enumerate(["DataError", "StoreError", "DataError", "StoreError"]):
        lose(retries, number, cause)
    assert retries.stop_reason is None


def test_retries_hold_nothing_for_a_lost_node() -> None:
    retry = Retries(0).failed(failure(0, "environment", LOST_NODE))
    assert retry is not None
    assert (retry.holds, retry.avoid) == (False, "node")
