"""The number of trials at each rung."""

from pathlib import Path
from typing import Any

from tuner.config.study import StudyConfig, parse_spec
from tuner.results.folder import load_study
from tuner.study.progress import Progress
from tuner.study.rung_counts import RungCount, RungCounts

CIFAR = Path(__file__).parents[2] / "notebooks" / "results" / "cifar"


def study(stopping: Any) -> StudyConfig:
    return parse_spec(
        {
            "study": "demo",
            "training": {"architecture": "vazquez_base", "epochs": 20},
            "space": {"learning_rate": {"float": [1e-4, 1e-1]}},
            "stopping": stopping,
        }
    )


def verdict(number: int, rung: float, name: str) -> dict[str, Any]:
    return {"number": number, "rung": rung, "verdict": name}


def test_trial_that_waits_passes_or_stops() -> None:
    counts = RungCounts(study({"asha": {"grace_period": 2}}), [verdict(number, 2.0, "wait") for number in range(4)])
    assert counts.rungs == [RungCount(2, 0, 4, 0), RungCount(6, 0, 0, 0), RungCount(18, 0, 0, 0)]
    counts.judged(verdict(1, 2.0, "promote"))
    counts.judged(verdict(1, 6.0, "wait"))
    counts.ended(0)
    counts.ended(9)
    assert counts.rungs[:2] == [RungCount(2, 1, 2, 1), RungCount(6, 0, 1, 0)]


def test_rungs_between_epochs_count_at_next() -> None:
    counts = RungCounts(study({"hyperband": {"grace_period": 1, "reduction_factor": 2.5}}))
    counts.judged(verdict(0, 6.25, "go"))
    counts.judged(verdict(0, 8.0, "time"))
    assert [rung.epoch for rung in counts.rungs] == [1, 3, 7, 16]
    assert counts.rungs[2].passed == counts.rungs[2].total == 1


def test_median_rule_has_no_rungs() -> None:
    counts = RungCounts(study("median"))
    counts.judged(verdict(0, 3.0, "stop"))
    assert counts.rungs == []


def test_rungs_of_recorded_study_equal_its_decisions() -> None:
    results = load_study(CIFAR)
    trials, decisions = results.trials.to_dict("records"), results.decisions
    progress = Progress(results.spec, trials, judged=decisions.to_dict("records"))
    verdicts = decisions.groupby(["rung", "verdict"]).size()
    assert [(rung.passed, rung.waiting, rung.stopped) for rung in progress.rungs.rungs] == [
        (verdicts[float(rung), "go"], 0, verdicts[float(rung), "stop"]) for rung in (1, 3, 9)
    ]
