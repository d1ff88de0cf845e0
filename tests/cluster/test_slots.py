"""Slots of a study, counted on clusters that grow and shrink."""

import pytest

from tuner.cluster import slots
from tuner.cluster.slots import Slots, TrialResources, count_slots
from tuner.config.study import StudyConfig, parse_spec
from tuner.errors import SpecError

ONE = {"CPU": 1.0}
CORE = TrialResources(1, 0)
Nodes = list[dict[str, float]]


def study(concurrent: int | str) -> StudyConfig:
    return parse_spec(
        {
            "study": "slots",
            "dataset": {"name": "digits"},
            "training": {"architecture": "vazquez_base", "epochs": 1},
            "space": {"learning_rate": {"float": [1e-4, 1e-1], "log": True}},
            "resources": {"concurrent": concurrent},
        }
    )


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Nodes:
    """A list of living nodes, which a test changes as a cluster does."""
    living: Nodes = []
    monkeypatch.setattr(slots, "living_resources", lambda: living)
    monkeypatch.setattr(slots, "addable", lambda: [])
    monkeypatch.setattr(slots, "COUNT_SECONDS", 0.0)
    return living


def test_slots_follow_nodes_that_come_and_go(cluster: Nodes) -> None:
    counted: list[int] = []
    count = Slots(study("auto"), CORE, counted.append)
    for living, expected in ((1, 1), (3, 3), (0, 1), (2, 2)):  # a trial waits for a lost cluster
        cluster[:] = [ONE] * living
        assert count() == expected
    assert counted == [1, 3, 1, 2]


def test_slots_are_counted_seldom(cluster: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "COUNT_SECONDS", 3600.0)
    cluster.append(ONE)
    count = Slots(study("auto"), CORE, lambda _: None)
    assert count() == 1
    cluster.append(ONE)
    assert count() == 1


@pytest.mark.parametrize(
    ("living", "addable", "concurrent", "expected"),
    [
        (0, None, "auto", 1),
        (1, None, "auto", 2),
        (4, None, "auto", 8),
        (4, None, 6, 6),
        (0, None, 6, 6),
        (1, [ONE, ONE], "auto", 3),
        (1, [ONE, ONE], 2, 2),
        (4, [], 6, 4),
    ],
)
def test_slots_ask_for_nodes_to_come(
    living: int,
    addable: Nodes | None,
    concurrent: int | str,
    expected: int,
    cluster: Nodes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster[:] = [ONE] * living
    monkeypatch.setattr(slots, "addable", lambda: addable)
    assert count_slots(study(concurrent), CORE) == expected


def test_slots_refuse_what_no_node_holds(cluster: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.append({})  # a head node without cores
    monkeypatch.setattr(slots, "addable", lambda: [ONE, ONE])
    with pytest.raises(SpecError, match="a trial asks for 2, there are 1 on the largest of 3 nodes"):
        count_slots(study("auto"), TrialResources(2, 0))
