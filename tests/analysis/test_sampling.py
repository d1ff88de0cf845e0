import pandas as pd

from tuner.analysis.sampling import sample_trials
from tuner.config.study import parse_spec

SPEC = parse_spec({"study": "many", "training": {"architecture": "vazquez_base"}, "space": {}})


def trials(count: int) -> pd.DataFrame:
    """Trials of which one in ten is complete, number 7 failed, and the last is a repeat."""
    states = ["COMPLETE" if number % 10 == 0 else "PRUNED" for number in range(count)]
    states[7] = "FAILED"
    values = [number / count for number in range(count)]
    purposes = ["search"] * (count - 1) + ["repeat"]
    return pd.DataFrame({"number": range(count), "state": states, "value": values, "purpose": purposes})


def test_sample_holds_all_of_few_trials() -> None:
    assert sample_trials(SPEC, trials(50), 49)["number"].tolist() == list(range(49))


def test_sample_holds_the_best_and_each_state() -> None:
    chosen = sample_trials(SPEC, trials(1001), 100)
    assert 95 <= len(chosen) <= 101
    assert {990, 980, 970, 7} <= {*chosen["number"]}
    assert chosen["state"].value_counts()["PRUNED"] > 60
    assert chosen["number"].is_monotonic_increasing


def test_sample_stays_as_the_study_grows() -> None:
    before, after = ({*sample_trials(SPEC, trials(count), 100)["number"]} for count in (1001, 1011))
    assert len(before & after) > 80
