"""ASHA with several objectives, whose trials are ranked by Pareto fronts."""

import math
from typing import Any

import numpy as np
import pytest

from tuner.config.sections import AshaConfig
from tuner.config.study import parse_spec
from tuner.search.fronts import order_by_fronts
from tuner.search.schedulers import AshaScheduler, make_scheduler

TWO = [{"maximize": "val_accuracy"}, {"minimize": "parameters_count"}]
Point = tuple[float, float]


def scheduler(decisions: list[dict[str, Any]], **rule: Any) -> AshaScheduler:
    spec = parse_spec(
        {
            "study": "s",
            "training": {"architecture": "vazquez_base", "epochs": 9},
            "space": {},
            "objective": TWO,
            "stopping": {"asha": {"grace_period": 1, "reduction_factor": 3, "min_trials": 3, **rule}},
        }
    )
    made = make_scheduler(spec, decisions.append)
    assert isinstance(made, AshaScheduler)
    return made


def report(to: AshaScheduler, number: int, epoch: int, point: Point) -> str:
    """Report an epoch, and return the verdict of the rule."""
    decisions: list[dict[str, Any]] = []
    to.note(number, {"epoch": epoch, "val_accuracy": point[0], "parameters_count": point[1]})
    decision = to._rule.report(number, epoch, point[0])
    if decision is not None:
        to._pass_on(decision)
        decisions.append({"verdict": decision.verdict})
    return decisions[0]["verdict"] if decisions else ""


def dominates(one: Point, other: Point) -> bool:
    return one[0] >= other[0] and one[1] <= other[1] and one != other


def fronts(points: dict[int, Point]) -> list[set[int]]:
    """The fronts of points, by comparing all with all."""
    left, found = dict(points), []
    while left:
        front = {n for n, point in left.items() if not any(dominates(other, point) for other in left.values())}
        found.append(front)
        left = {n: point for n, point in left.items() if n not in front}
    return found


def test_order_follows_brute_force_fronts() -> None:
    for seed in range(20):
        draw = np.random.default_rng(seed).integers(0, 6, (15, 2)).astype(float)
        order = order_by_fronts(draw * [1, -1], range(15))
        expected = fronts({n: (float(a), float(b)) for n, (a, b) in enumerate(draw)})
        left = list(order)
        for front in expected:
            assert set(left[: len(front)]) == front
            left = left[len(front) :]


def test_order_begins_a_front_with_its_ends() -> None:
    points = np.array([[5.0, 5.0], [9.0, 1.0], [1.0, 9.0], [6.0, 4.5], [0.0, 0.0]])
    assert order_by_fronts(points, range(5)) == [1, 2, 0, 3, 4]


def test_order_takes_missing_values_last() -> None:
    points = np.array([[-math.inf, -math.inf], [0.5, -3.0], [0.5, -math.inf]])
    assert order_by_fronts(points, range(3)) == [1, 2, 0]


def test_small_network_is_promoted_beside_the_best() -> None:
    points = {0: (0.9, 100.0), 1: (0.8, 1000.0), 2: (0.5, 10.0), 3: (0.7, 2000.0), 4: (0.4, 500.0), 5: (0.3, 900.0)}
    front, first = scheduler([]), scheduler([], ranking="first")
    gone: dict[str, list[int | None]] = {}
    for name, made in (("front", front), ("first", first)):
        passed = [number for number, point in points.items() if report(made, number, 1, point) == "go"]
        gone[name] = [*passed, *iter(made.promote, None)]
    assert sorted(map(str, gone["front"])) == ["0", "2"]
    assert sorted(map(str, gone["first"])) == ["0", "1"]


@pytest.mark.parametrize("seed", range(3))
def test_promoted_trials_are_among_the_best_by_brute_force(seed: int) -> None:
    draw, decisions = np.random.default_rng(seed), list[dict[str, Any]]()
    made, points = scheduler(decisions), dict[int, Point]()
    for number in range(30):
        points[number] = (float(draw.integers(0, 20)) / 20, float(draw.integers(1, 20)))
        before = len(decisions)
        report(made, number, 1, points[number])
        made.promote()
        for decision in decisions[before:]:
            if decision["verdict"] in ("go", "promote"):
                places = len(points) // 3
                found = fronts(points)
                own = next(index for index, front in enumerate(found) if decision["number"] in front)
                assert sum(map(len, found[:own])) < places
                assert decision["rank"] <= places
                assert math.isclose(decision["value"], points[decision["number"]][0])
            assert decision["cutoff"] is None
    assert sum(decision["verdict"] in ("go", "promote") for decision in decisions) >= 8


def test_stop_compares_all_objectives() -> None:
    made = scheduler([], type="stop")
    for number in range(5):
        report(made, number, 1, (0.9 - 0.1 * number, 100.0 + number))
    assert report(made, 5, 1, (0.1, 10.0)) == "go"
    assert report(made, 6, 1, (0.8, 400.0)) == "stop"


def test_earlier_studies_rank_by_the_first_objective() -> None:
    stored = AshaConfig.model_validate({"type": "promote", "min_trials": 3}, context={"stored": True})
    assert stored.ranking == "first"
    assert AshaConfig().ranking == "front"
    assert AshaConfig().as_begun(stored, {"ranking"}).ranking == "first"
