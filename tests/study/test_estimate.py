import time
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch

from tuner import data
from tuner.config.study import StudyConfig, parse_spec
from tuner.data.device import device_data
from tuner.errors import DataError, SpecError
from tuner.study.estimate import REPORT_SECONDS, TRIAL_SECONDS, Estimate, estimate
from tuner.training.loop import train
from tuner.training.probe import Speed


def study(**changes: Any) -> StudyConfig:
    return parse_spec(
        {
            "study": "demo",
            "training": {"architecture": "vazquez_base", "epochs": 9, "batch_size": 32},
            "space": {"learning_rate": {"float": [1e-4, 1e-2], "log": True}},
            "search": {"trials": 4, "sampler": "random"},
            "stopping": "none",
            **changes,
        }
    )


@pytest.fixture(autouse=True)
def cpu_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time what this process computes, because other programs may hold the cores."""
    monkeypatch.setattr(time, "perf_counter", time.process_time)


def epoch_seconds(cost: Estimate, trials: int, epochs: float, slots: int = 1) -> float:
    """Return the estimated cost of an epoch, all in all."""
    return (cost.hours_without_stopping * 3600 * slots / trials - TRIAL_SECONDS) / epochs


@pytest.fixture
def short_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time fewer recipes, because the first ones tell enough here."""
    monkeypatch.setattr("tuner.training.probe.TIMED_SECONDS", 0.5)


@pytest.mark.slow
@pytest.mark.usefixtures("short_timing")
def test_estimate_is_near_the_measured_time() -> None:
    spec = study(training={"architecture": "vazquez_base", "epochs": 4, "batch_size": 32})
    torch.set_num_threads(1)
    on_device = device_data(data.load(spec.dataset).folder, spec.dataset, "cpu")
    results = train(spec.training_config({"learning_rate": 1e-3}), on_device)
    measured = median(result.seconds for result in results)
    estimated = epoch_seconds(estimate(spec, None, slots=1), trials=4, epochs=4) - REPORT_SECONDS
    assert measured / 3 < estimated < measured * 3


@pytest.mark.usefixtures("known_speed")
def test_estimate_counts_each_fold() -> None:
    cost = estimate(study(dataset={"name": "digits", "validation": {"folds": 5}}), None, slots=1)
    assert epoch_seconds(cost, trials=4, epochs=9) == pytest.approx(5 * 2.0 + REPORT_SECONDS)


@pytest.fixture
def known_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speed of 100 images per second, which is not measured."""
    monkeypatch.setattr("tuner.study.estimate.time_recipes", lambda *_: Speed(100.0, 2.0))


@pytest.mark.usefixtures("known_speed")
def test_estimate_spares_trials_only_with_asha() -> None:
    cost = estimate(study(), None, slots=2)
    assert cost.hours == cost.hours_without_stopping
    cost = estimate(study(stopping={"asha": {"grace_period": 1, "reduction_factor": 3}}), None, slots=2)
    seconds = epoch_seconds(cost, trials=4, epochs=9, slots=2)
    assert cost.hours * 3600 == pytest.approx(4 / 2 * (TRIAL_SECONDS + (1 + 2 / 3 + 6 / 9) * seconds))


@pytest.mark.usefixtures("known_speed")
def test_estimate_counts_repeats_in_full() -> None:
    asha = {"asha": {"grace_period": 3, "reduction_factor": 3}}
    cost = estimate(study(stopping=asha, repeats={"top": 2, "seeds": 5}), None, slots=1)
    seconds = epoch_seconds(cost, trials=4 + 10, epochs=9)
    searched, repeated = 4 * (TRIAL_SECONDS + (3 + 6 / 3) * seconds), 10 * (TRIAL_SECONDS + 9 * seconds)
    assert cost.hours * 3600 == pytest.approx(searched + repeated)


@pytest.mark.slow
@pytest.mark.usefixtures("short_timing")
def test_estimate_times_each_architecture() -> None:
    space = {
        "architecture": {"choice": ["vazquez_base", "rubio_small"]},
        "dropout": {"float": [0.0, 0.5], "step": 0.1, "when": {"architecture": "vazquez_base"}},
        "dense": {"int": [32, 128], "log": True},
        "filters": {"int": [4, 16], "step": 4},
    }
    training = {"epochs": 2, "batch_size": 64}
    speeds = estimate(study(training=training, space=space), None, slots=1).images_per_second
    assert set(speeds) == {"vazquez_base", "rubio_small"}
    assert speeds["vazquez_base"] > speeds["rubio_small"] > 0


@pytest.mark.usefixtures("known_speed")
def test_estimate_takes_a_grids_own_points() -> None:
    grid = study(
        space={"epochs": {"choice": [1, 5]}}, training={"architecture": "vazquez_base"}, search={"sampler": "grid"}
    )
    cost = estimate(grid, None, slots=1)
    assert epoch_seconds(cost, trials=2, epochs=3) == pytest.approx(2.0 + REPORT_SECONDS)


def test_estimate_refuses_an_untrainable_architecture() -> None:
    with pytest.raises(SpecError, match=r"^rubio_small: batch_size: .* 2 or more$"):
        estimate(study(training={"architecture": "rubio_small", "batch_size": 1}), None, slots=1)


def test_estimate_refuses_missing_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no data set"):
        estimate(study(dataset={"name": str(tmp_path / "nothing.parquet")}), None, slots=1)
