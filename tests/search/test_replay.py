"""Replays of recorded curves under other rules."""

from pathlib import Path

import numpy as np
import pytest

import tuner
from tuner.cli.replay import replay as replay_command
from tuner.config.sections import AshaConfig
from tuner.config.study import StudyConfig, parse_spec
from tuner.errors import StudyError
from tuner.results.folder import StudyFolder, StudyResults
from tuner.search.replay import Curve, Simulation, other_rules, recorded_curves, replay

CIFAR = Path(__file__).parents[2] / "notebooks" / "results" / "cifar"
EPOCHS, MANY = 9, 10_000


def study(direction: str = "maximize") -> StudyConfig:
    metric = "val_accuracy" if direction == "maximize" else "val_loss"
    training = {"architecture": "vazquez_base", "epochs": EPOCHS}
    rule = {"asha": {"type": "promote", "reduction_factor": 3}}
    objective = {direction: metric}
    return parse_spec({"study": "demo", "training": training, "space": {}, "stopping": rule, "objective": objective})


def whole_curves(trials: int = 30) -> list[Curve]:
    """Curves that were recorded to their end, with noise, as no rule stopped them."""
    draw = np.random.default_rng(0)
    heights = draw.random(trials)
    return [
        Curve(number, tuple(height * (1 - 0.6**epoch) + draw.normal(0, 0.05) for epoch in range(1, 10)), EPOCHS, True)
        for number, height in enumerate(heights)
    ]


def recorded_under(rule: AshaConfig, curves: list[Curve]) -> list[Curve]:
    """Run a rule on whole curves, and keep what a study would have recorded."""
    simulation = Simulation(study(), rule, curves)
    done = simulation.run(MANY)
    assert not done.cut
    reached = simulation._reached
    return [
        Curve(one.number, one.values[: reached[one.number]], EPOCHS, one.number in done.complete)
        for one in curves
        if reached[one.number]
    ]


@pytest.mark.parametrize("kind", ["promote", "stop"])
def test_replay_of_its_own_rule_finds_the_same(kind: str) -> None:
    rule = AshaConfig(type=kind, reduction_factor=3)  # type: ignore[arg-type]
    record = recorded_under(rule, whole_curves())
    again = Simulation(study(), rule, record).run(MANY)
    assert not again.cut
    assert again.used == sum(len(curve.values) for curve in record)
    assert set(again.complete) == {curve.number for curve in record if curve.has_ended}


def test_replay_counts_what_is_not_recorded() -> None:
    record = recorded_under(AshaConfig(reduction_factor=3), whole_curves())
    stopped = {curve.number for curve in record if not curve.has_ended}
    without_rule = Simulation(study(), None, record).run(MANY)
    assert without_rule.cut == stopped
    assert without_rule.used == sum(len(curve.values) for curve in record)
    late = Simulation(study(), AshaConfig(grace_period=4), record).run(MANY)
    assert {curve.number for curve in record if len(curve.values) < 4} <= late.cut <= stopped


def test_replay_ends_after_its_epochs() -> None:
    found = Simulation(study(), None, whole_curves()).run(4 * EPOCHS + 2)
    assert (found.used, list(found.complete), found.begun) == (4 * EPOCHS + 2, [0, 1, 2, 3], 5)
    assert found.best(1, 2 * EPOCHS) == max(
        ((number, value) for number, (_, value) in found.complete.items() if number < 2), key=lambda pair: pair[1]
    )


def test_failed_trial_has_ended() -> None:
    failed = Curve(0, (0.5, 0.6), EPOCHS, has_ended=True)
    assert not Simulation(study(), None, [failed]).run(MANY).cut


def test_replay_by_losses_finds_the_lowest() -> None:
    losses = [Curve(n, tuple(1 + n - 0.01 * e for e in range(EPOCHS)), EPOCHS, True) for n in (3, 1, 2, 5, 4)]
    spec = study("minimize")
    found = Simulation(spec, spec.stopping.asha, losses).run(MANY)
    best = found.best(-1, MANY)
    assert best is not None
    assert best[0] == 1


@pytest.mark.slow
def test_committed_search_is_replayed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    cifar = tuner.load_study(CIFAR)
    own = cifar.spec.stopping.asha
    table = replay(cifar.spec, cifar.trials, cifar.epochs, [own, None], orders=2).set_index("rule")
    assert table.loc["stop", ["epochs", "complete", "cut", "number"]].tolist() == [215, 15, 0, 42]
    assert table.loc["none", ["epochs", "cut", "begun"]].tolist() == [226, 47, 64]
    assert table.loc["stop", "value"] == cifar.trials["value"][42]
    monkeypatch.setattr("tuner.cli.tables.out.width", 60)  # in which no number may be cut
    replay_command(str(CIFAR))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 1 + len(other_rules(cifar.spec)) + 2
    assert lines[2].split() == ["as", "it", "was", "run", "226", "16", "42", "0.8190"]
    assert lines[5].split()[:8] == ["promote", "1", "3", "175", "9", "0", "42", "0.8178"]


def test_study_without_reports_has_nothing_to_replay(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "demo")
    folder.storage.create()
    folder.write_spec(study())
    read = StudyResults(folder, folder.spec())
    assert recorded_curves(read.spec, read.trials, read.epochs) == []
    with pytest.raises(StudyError, match=r"demo: no trial has reported yet$"):
        replay_command(str(folder))
