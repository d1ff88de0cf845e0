"""Random study files: each is a plan that can run, or one line per mistake."""

import pytest

from tests.config.fuzz import fuzz

COUNT = 120


@pytest.mark.slow
def test_random_study_files_run_or_are_refused_in_lines() -> None:
    failures: list[str] = []
    plans = fuzz(range(COUNT), lambda seed, text: failures.append(f"seed {seed}: {text}"))
    assert not failures, failures[0]
    assert 0.1 * COUNT < plans < 0.9 * COUNT  # or else one half of the fuzzer tests nothing


def test_fuzzer_reports_what_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.config.fuzz.load_spec", lambda _: 1 / 0)
    failures: list[int] = []
    assert fuzz(range(3), lambda seed, _: failures.append(seed)) == 0
    assert failures == [0, 1, 2]
