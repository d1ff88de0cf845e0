"""The searcher: its proposals, its reports to Optuna, and its rebuilding."""

import json
import math
import pickle
from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from tests.support.counting import calls_of
from tuner.config.parameters import Parameter
from tuner.config.space import Space
from tuner.config.study import StudyConfig, parse_spec
from tuner.config.values import Value
from tuner.errors import StudyError
from tuner.results.folder import StudyFolder
from tuner.results.ranking import rank
from tuner.results.schema import outcome, parameters_to_row
from tuner.results.tables import Tables, now
from tuner.search.defaults import default_configuration
from tuner.search.learned import Learned
from tuner.search.optuna_study import distribution, rebuild_study, resume_trials, suggest_value
from tuner.search.proposals import FRONT_FINALISTS, Proposal, Retry
from tuner.search.samplers import FIRST_TRIALS, derive_trial_seed, make_sampler
from tuner.search.schedulers import make_scheduler
from tuner.search.searcher import OptunaSearcher
from tuner.storage import Storage
from tuner.study.budget import BudgetMeter, read_spent
from tuner.study.observer import NullObserver
from tuner.study.recorder import Recorder
from tuner.study.restore import read_past
from tuner.study.retries import Retries

EPOCHS = 3
FLAT = {
    "learning_rate": {"float": [1e-4, 1e-1], "log": True},
    "dropout": {"float": [0, 0.6], "step": 0.2},
    "dense": {"int": [32, 512], "log": True},
    "batch_size": {"choice": [32, 64, 128]},
}
NESTED = {
    "architecture": {"choice": ["vazquez_base", "vazquez_deep", "alexnet"]},
    "dropout": {"float": [0, 0.6], "when": {"architecture": ["vazquez_deep", "alexnet"]}},
    "dropout_dense": {"float": [0, 0.6], "when": {"architecture": "vazquez_deep"}},
    "optimizer": {"choice": ["adam", "sgd"], "when": {"architecture": ["vazquez_deep"]}},
    "momentum": {"float": [0.5, 0.9], "when": {"optimizer": "sgd"}},
    "filters": {"int": [8, 64], "when": {"architecture": ["vazquez_base"]}},
}
GRID = {
    "batch_size": {"choice": [32, 64]},
    "architecture": {"choice": ["vazquez_base", "vazquez_deep"]},
    "dropout_dense": {"float": [0.1, 0.5], "step": 0.2, "when": {"architecture": "vazquez_deep"}},
    "filters": {"int": [16, 50], "step": 16},
}
NUMBERS = {name: FLAT[name] for name in ("learning_rate", "dropout", "dense")}
SAMPLERS = ["mixed", "tpe", "curves", "random", "qmc", "grid", "gp", "cmaes", "nsga2", "nsga3"]
SPACES: dict[str, dict[str, Any]] = {"grid": GRID, "cmaes": NUMBERS}
GENERATION, GENETIC = 8, 12
"""Trials of a generation in these tests, and of a genetic search, which learns from its first one."""


@pytest.fixture(autouse=True)
def small_generations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let genetic samplers learn after a few trials."""
    for module in ("tuner.config.samplers", "tuner.search.samplers"):
        monkeypatch.setattr(f"{module}.NSGA_POPULATION", GENERATION)


def study(
    space: Mapping[str, Any] = FLAT, sampler: str = "random", trials: int = 12, seed: int = 5, **changes: Any
) -> StudyConfig:
    training = {"epochs": EPOCHS} | ({} if "architecture" in space else {"architecture": "vazquez_base"})
    search = {"sampler": sampler, "trials": trials, "seed": seed}
    dataset = {"name": "cifar10"}
    return parse_spec(
        {"study": "s", "dataset": dataset, "training": training, "space": space, "search": search, **changes}
    )


def accuracy(config: Mapping[str, Any], epoch: int) -> float:
    """Return a trial's measurement, which its parameters and seed decide."""
    wish = sum(math.cos(float(v)) for v in config["parameters"].values() if isinstance(v, int | float))
    return (math.tanh(wish) + 1) / 3 * (1 - 0.5**epoch) + float(config["seed"]) % 1009 / 1e5


def size_of(parameters: Mapping[str, Value]) -> int:
    return 100 * int(str(parameters.get("dense", 1)))


def fate(config: Mapping[str, Any]) -> str:
    """Return how a trial ends. Repeats always complete."""
    ends = {1: "pruned", 3: "crashed", 5: "error"}
    return ends.get(config["number"] % 7, "complete") if config["purpose"] == "search" else "complete"


class Driven:
    """Searcher, scheduler, recorder and tables of one run, called as Ray Tune calls them."""

    def __init__(
        self,
        spec: StudyConfig,
        folder: Path,
        slots: int = 2,
        learned: Learned | None = None,
        compacts: bool = True,
    ) -> None:
        self.learned = learned
        home = StudyFolder(folder)
        self.tables = home.tables(spec)
        if compacts:
            self.tables.compact()  # as every run does before it reads
        past = read_past(self.tables)
        self.meter = BudgetMeter(spec, read_spent(spec, home.provenance(), self.tables))
        self.proposals: list[Proposal] = []
        self.live: list[Trial] = []
        self.is_stopping = False
        self.recorder = Recorder(
            spec,
            home,
            self.tables,
            past,
            NullObserver(),
            retries=Retries(0, past.failures),
            meter=self.meter,
            stopping=lambda: self.is_stopping,
            lost=lambda: False,
        )
        self.scheduler = make_scheduler(spec, self.recorder.decide)
        self.recorder.restore(past, self.scheduler)
        self.searcher = self.recorder.searcher = OptunaSearcher(
            spec,
            self.recorder.trials(),
            past.epochs,
            slots=lambda: slots,
            on_propose=self.propose,
            latest=self.tables.trials,
            rule=self.scheduler,
            on_prune=partial(self.recorder.end, state="PRUNED"),
            known=lambda parameters: {"parameters_count": size_of(parameters)},
            on_refuse=self.recorder.refuse,
            learned=learned,
        )

    def propose(self, proposal: Proposal) -> None:
        self.recorder.propose(proposal)
        self.proposals.append(proposal)

    def start(self) -> dict[str, Any] | str | None:
        trial = Trial("driven", stub=True)
        config = self.searcher.suggest(trial.trial_id)
        if isinstance(config, dict):
            trial.config = config
            self.live.append(trial)
        return config

    def step(self) -> bool:
        """Start a trial or train an epoch. Return False if nothing is left."""
        config = self.start()
        if isinstance(config, dict):
            return True
        if not self.live:
            assert config == Searcher.FINISHED
            return False
        trial = self.live.pop(0)
        if not self.train(trial):
            self.live.append(trial)
        return True

    def train(self, trial: Trial) -> bool:
        """Report the next epoch as Tune does. Return True if it was the last."""
        config = trial.config
        epoch = trial.run_metadata.last_result.get("epoch", 0) + 1
        if epoch == 2 and fate(config) == "crashed":
            self.searcher.on_trial_complete(trial.trial_id, error=True)
            self.searcher.give_up(config["number"], "crash")
            self.recorder._rows[config["number"]] |= {"error": "RuntimeError: crashed", "error_kind": "crash"}
            self.recorder.end([config["number"]], "FAILED")
            return True
        result: dict[str, Any] = {"error": "loss is nan", "error_kind": "diverged", "done": True}
        if epoch == 1 or fate(config) != "error":
            measured = accuracy(config, epoch)
            result = {
                "epoch": epoch,
                "epochs_planned": EPOCHS,
                "val_accuracy": measured,
                "val_loss": 1 - measured,
                "parameters_count": size_of(config["parameters"]),
                "seconds": 0.5,
            }
        result["replayed"] = epoch in self.recorder._epochs[config["number"]]
        ends = "error" in result or epoch == EPOCHS or (epoch == 2 and fate(config) == "pruned")
        ends = ends or self.scheduler.on_trial_result(None, trial, result) == TrialScheduler.STOP
        if not ends:
            self.searcher.on_trial_result(trial.trial_id, result)
        self.recorder.on_trial_result(0, [], trial, result)
        trial.run_metadata.last_result = result
        if ends:
            self.scheduler.on_trial_complete(None, trial, result)
            self.searcher.on_trial_complete(trial.trial_id, result)
            self.recorder.on_trial_complete(0, [], trial)
        return ends

    def run(self, calls: int = 10_000) -> "Driven":
        """Go on until nothing is left, or for so many calls."""
        for _ in range(calls):
            if not self.step():
                break
        return self

    def killed(self, spec: StudyConfig | None = None, compacts: bool = True) -> "Driven":
        """Return the next process, which finds only what reached the disk."""
        root, slots = self.tables.storage.root, self.searcher._slots()
        return Driven(spec or self.searcher.spec, root, slots, self.learned, compacts)


def told(trials: list[FrozenTrial]) -> list[dict[str, Any]]:
    """All that a sampler may look at."""
    return [
        {
            "number": trial.number,
            "state": trial.state,
            "values": trial.values,
            "params": trial.params,
            "distributions": trial.distributions,
            "intermediate": trial.intermediate_values,
            "user": trial.user_attrs,
            "system": {key: value for key, value in trial.system_attrs.items() if key != "fixed_params"},
        }
        for trial in trials
    ]


def drawn(proposal: Proposal) -> str:
    return json.dumps(proposal.parameters, sort_keys=True)


# --- what is proposed ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sampler", "space"), [("random", NESTED), ("grid", GRID)])
@pytest.mark.slow
def test_interrupted_search_proposes_as_the_whole_one(sampler: str, space: dict[str, Any], tmp_path: Path) -> None:
    spec = study(space, sampler, trials=8)
    expected = {proposal.number: proposal for proposal in Driven(spec, tmp_path / "whole").run().proposals}
    assert list(expected) == list(range(8))
    for calls in (1, 13, 24):
        before = Driven(spec, tmp_path / str(calls)).run(calls)
        in_flight = [trial.config["number"] for trial in before.live]
        after = before.killed().run()
        assert [proposal.number for proposal in after.proposals[: len(in_flight)]] == sorted(in_flight)
        assert {proposal.number: proposal for proposal in [*before.proposals, *after.proposals]} == expected
        assert len(before.proposals) + len(after.proposals) == 8 + len(in_flight)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
@pytest.mark.slow
def test_named_configurations_come_first(sampler: str, tmp_path: Path) -> None:
    named = [{"architecture": "vazquez_deep", "dropout": 0.2}, {"architecture": "alexnet"}]
    raw = study(NESTED, sampler, trials=5).to_dict()
    spec = parse_spec(raw | {"search": raw["search"] | {"try_first": named}})
    whole = Driven(spec, tmp_path / "whole").run().proposals
    assert [proposal.origin for proposal in whole] == ["try_first"] * 2 + [sampler] * 3
    for given, proposal in zip(named, whole, strict=False):
        assert given.items() <= proposal.parameters.items()
    assert whole[0].parameters["dropout_dense"] == default_configuration(spec, named[0])["dropout_dense"]
    assert (whole[2].parameters == default_configuration(spec)) == (sampler == "tpe")
    for calls in (2, 4):
        before = Driven(spec, tmp_path / str(calls), slots=1).run(calls)
        again = [*before.proposals, *before.killed().run(12).proposals]
        found = {proposal.number: proposal.parameters for proposal in again}
        assert [found[number] for number in range(3)] == [proposal.parameters for proposal in whole[:3]]


def test_extended_search_continues(tmp_path: Path) -> None:
    whole = Driven(study(trials=10), tmp_path / "whole").run()
    part = Driven(study(trials=4), tmp_path / "part").run()
    assert part.proposals + part.killed(study(trials=10)).run().proposals == whole.proposals


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sampler", "space", "calls"),
    [
        ("tpe", FLAT, 88),
        ("tpe", NESTED, 88),
        ("random", NESTED, 32),
        ("grid", GRID, 32),
        ("gp", {"learning_rate": FLAT["learning_rate"]}, 58),
        ("cmaes", NUMBERS, 68),
        ("nsga2", NESTED, 48),
        ("nsga3", NESTED, 48),
        ("qmc", NESTED, 32),
    ],
)
def test_sampler_resumes_as_if_never_interrupted(
    sampler: str, space: dict[str, Any], calls: int, tmp_path: Path
) -> None:
    """Compare also in the middle of a trial, with the same trials in flight."""
    whole = Driven(study(space, sampler, trials=40), tmp_path).run(calls)
    whole.tables.flush()
    finished = [trial for trial in whole.searcher.study.trials if trial.value is not None]
    begins = {"tpe": FIRST_TRIALS, "gp": 10, "cmaes": 10, "nsga2": GENERATION, "nsga3": GENERATION}.get(sampler, 5)
    assert len(finished) >= begins  # the sampler has begun to learn
    assert whole.live
    rebuilt = whole.killed()
    assert told(rebuilt.searcher.study.trials) == told(whole.searcher.study.trials)
    again = [rebuilt.start() for _ in whole.live]
    assert again == [trial.config for trial in sorted(whole.live, key=lambda trial: trial.config["number"])]
    whole.searcher._slots = rebuilt.searcher._slots = lambda: 5  # a new proposal beside those in flight
    assert rebuilt.start() == whole.start()


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.slow
def test_sampler_finishes_after_an_interruption(sampler: str, tmp_path: Path) -> None:
    count = GENETIC if sampler.startswith("nsga") else 14
    spec = study(SPACES.get(sampler, FLAT), sampler, trials=count)
    before = Driven(spec, tmp_path).run(18)
    after = before.killed().run()
    trials = after.tables.trials()
    assert list(trials["number"]) == list(range(count))
    assert not (trials["state"] == "RUNNING").any()
    assert len({drawn(proposal) for proposal in [*before.proposals, *after.proposals]}) == count  # none of them twice


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["cmaes", "nsga2", "nsga3"])
def test_sampler_attributes_stand_in_the_tables(sampler: str, tmp_path: Path) -> None:
    count = 22 if sampler == "cmaes" else GENETIC
    driven = Driven(study(NUMBERS, sampler, trials=count), tmp_path).run()
    kept = [set(json.loads(text)) for text in driven.tables.trials()["sampler_attrs"]]
    key = {"cmaes": "cma", "nsga2": "NSGAIISampler", "nsga3": "NSGAIIISampler"}[sampler]
    assert any(f"{key}:generation" in keys for keys in kept)
    live = driven.searcher.study.get_trials(deepcopy=False)
    assert [set(trial.system_attrs) for trial in live] == kept
    if sampler == "cmaes":
        assert any("cma:optimizer:0" in keys for keys in kept)  # a generation was told


@pytest.mark.parametrize(
    ("sampler", "rule", "space"),
    [
        ("mixed", "asha", NESTED),
        ("tpe", "asha", FLAT),
        ("tpe", "hyperband", NESTED),
        ("curves", "asha", FLAT),
    ],
)
@pytest.mark.slow
def test_learner_resumes_as_if_never_interrupted(
    sampler: str, rule: str, space: dict[str, Any], tmp_path: Path
) -> None:
    spec = study(space, sampler, trials=40, stopping={rule: {}})
    whole = Driven(spec, tmp_path, slots=3).run(90)
    whole.tables.flush()
    rebuilt = whole.killed()
    for _ in whole.live:
        rebuilt.start()
    whole.searcher._slots = rebuilt.searcher._slots = lambda: 8
    drawn = [whole.start() for _ in range(4)]
    assert len(whole.proposals) > FIRST_TRIALS + 4
    assert [rebuilt.start() for _ in range(4)] == drawn


@pytest.mark.slow
def test_mixed_proposes_by_its_samplers_in_turn() -> None:
    spec = study(FLAT, "mixed", trials=40, stopping="asha")
    assert [proposal.origin for proposal in asked(spec)][:7] == [
        "curves",
        "tpe",
        "random",
        "curves",
        "tpe",
        "random",
        "curves",
    ]
    goals = [{"maximize": "val_accuracy"}, {"minimize": "val_loss"}]
    assert {proposal.origin for proposal in asked(study(FLAT, "mixed", trials=6, objective=goals))} == {"tpe"}


def test_tpe_by_rungs_begins_with_defaults_and_sobol() -> None:
    spec = study(FLAT, "tpe", trials=40, stopping="asha")
    proposed = [proposal.parameters for proposal in asked(spec)]  # where nothing is ever reported
    assert proposed[0] == {"learning_rate": 1e-3, "dropout": 0.0, "dense": 128, "batch_size": 64}
    for start in (1, 9, 17):  # eighths of the range that the sequence fills one by one
        rates = [math.log10(point["learning_rate"]) + 4 for point in proposed[start : start + 8]]
        assert sorted(int(rate * 8 / 3) for rate in rates) == list(range(8))


@pytest.mark.slow
def test_tpe_by_rungs_learns_from_trials_that_wait() -> None:
    """Propose near the trials that stand in the highest rung, none of which has ended."""
    space = {"learning_rate": {"float": [1e-4, 1e-1], "log": True}}
    for seed in range(2):
        searcher = bare(study(space, "tpe", trials=100, seed=seed, stopping="asha"))
        for number in range(60):
            config = searcher.suggest(str(number))
            assert isinstance(config, dict)
            off = abs(math.log10(config["parameters"]["learning_rate"]) + 3.5)
            for epoch in range(1, 2 if off > 0.3 else 3):
                result = {"epoch": epoch, "epochs_planned": EPOCHS, "val_accuracy": 1 - off}
                searcher.on_trial_result(str(number), result)
        late = [trial.params["learning_rate"] for trial in searcher.study.get_trials()[-20:]]
        assert sum(abs(math.log10(rate) + 3.5) < 0.5 for rate in late) > 12


def test_foreign_study_runs_no_foreign_code(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, tuple[Path]]:
            return Path.touch, (tmp_path / "sprung",)

    spec = study(NUMBERS, "cmaes")
    searcher = bare(spec)
    tables = Tables(Storage(tmp_path), spec.space)
    config = searcher.suggest("a")
    assert isinstance(config, dict)
    row = {"number": 0, "attempt": 1, "state": "COMPLETE", "value": 0.5, "values": [0.5], "purpose": "search"}
    row |= {"sampler_attrs": json.dumps({"cma:optimizer:0": pickle.dumps(Trap()).hex()}), "updated_at": now()}
    tables.append("trials", row | parameters_to_row(spec.space, config["parameters"]))
    tables.flush()
    with pytest.raises(
        StudyError, match=r"^trials.sampler_attrs: found [\w.]+, which is no part of the state of CMA-ES$"
    ):
        rebuild_study(spec, tables.trials(), tables.epochs())
    assert not (tmp_path / "sprung").exists()


def test_nested_space_gives_only_active_parameters() -> None:
    seen = set()
    for proposal in asked(study(NESTED, "tpe", trials=40)):
        expected = {"architecture"} | {
            "vazquez_base": {"filters"},
            "vazquez_deep": {"dropout", "dropout_dense", "optimizer"},
            "alexnet": {"dropout"},
        }[str(proposal.parameters["architecture"])]
        if proposal.parameters.get("optimizer") == "sgd":
            expected.add("momentum")
        assert set(proposal.parameters) == expected
        seen |= expected
    assert seen == set(NESTED)


def test_grid_has_every_point_and_then_repeats() -> None:
    spec = study(GRID, "grid", trials=30)
    points = spec.space.grid()
    assert len(points) == 2 * 4 * 3
    assert [proposal.parameters for proposal in asked(spec)] == points + points[:6]


def bare(spec: StudyConfig, proposed: list[Proposal] | None = None, learned: Learned | None = None) -> OptunaSearcher:
    """A searcher without a past and with slots for all."""
    empty, told_of = Tables(Storage("/nowhere"), spec.space), [] if proposed is None else proposed
    return OptunaSearcher(
        spec,
        empty.trials(),
        empty.epochs(),
        slots=lambda: 10_000,
        on_propose=told_of.append,
        latest=empty.trials,
        learned=learned,
    )


def asked(spec: StudyConfig) -> list[Proposal]:
    """All that is proposed where nothing is ever reported."""
    proposed: list[Proposal] = []
    searcher = bare(spec, proposed)
    while isinstance(searcher.suggest(str(len(proposed))), dict):
        pass
    return proposed


def test_lists_and_mixed_choices_come_back_whole(tmp_path: Path) -> None:
    choices: dict[str, list[Value]] = {
        "dense": [[32, 64], [128], []],
        "dropout": [1, 1.5, True, "1", [1, "a"]],
        "epsilon": [1, 0.5],
        "momentum": [True, False],
        "filters": [8, 16],
        "optimizer": ["adam", "1"],
    }
    space = Space.model_validate({name: {"choice": values} for name, values in choices.items()})
    spec = study(trials=60).model_copy(update={"space": space})
    searcher = bare(spec)
    tables = Tables(Storage(tmp_path), space)
    for number in range(60):
        config = searcher.suggest(str(number))
        assert isinstance(config, dict)
        for name, value in config["parameters"].items():
            assert any(value == choice and type(value) is type(choice) for choice in choices[name])
        row = {"number": number, "attempt": 1, "state": "RUNNING", "purpose": "search", "updated_at": now()}
        tables.append("trials", row | parameters_to_row(space, config["parameters"]))
    seen = {name: {json.dumps(trial.params[name]) for trial in searcher.study.trials} for name in choices}
    assert {name: len(values) for name, values in seen.items()} == {name: len(c) for name, c in choices.items()}
    tables.flush()
    rebuilt = rebuild_study(spec, tables.trials(), tables.epochs())
    resume_trials(rebuilt)
    assert told(rebuilt.trials) == told(searcher.study.trials)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"float": [0, 1], "step": 0.3}, FloatDistribution(0, 0.9, step=0.3)),
        ({"float": [0.1, 0.7], "step": 0.1}, FloatDistribution(0.1, 0.7, step=0.1)),
        ({"int": [0, 10], "step": 3}, IntDistribution(0, 9, step=3)),
        ({"int": [1, 10], "log": True}, IntDistribution(1, 10, log=True)),
        ({"float": [1e-4, 1], "log": True}, FloatDistribution(1e-4, 1, log=True)),
    ],
)
def test_range_ends_on_a_step(raw: dict[str, Any], expected: Any) -> None:
    parameter: Parameter = Space.model_validate({"x": raw})["x"]
    assert distribution(parameter) == expected


@pytest.mark.parametrize("sampler", ["random", "tpe", "grid"])
def test_no_step_is_drawn_beyond_its_range(sampler: str) -> None:
    space = {"dropout": {"float": [0, 0.95], "step": 0.1}, "filters": {"int": [8, 30], "step": 5}}
    spec = study(space, sampler, trials=50)
    searcher = bare(spec)
    for index in range(50):
        config = searcher.suggest(str(index))
        assert isinstance(config, dict)
        for name, value in config["parameters"].items():
            assert spec.space[name].holds(value)


def test_seeds_are_distinct_and_reproducible() -> None:
    searcher = bare(study(trials=200))
    configs = [searcher.suggest(str(index)) for index in range(200)]
    seeds = [config["seed"] for config in configs if isinstance(config, dict)]
    assert len(set(seeds)) == 200
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert seeds[:3] == [derive_trial_seed(5, "trial", number) for number in range(3)]
    assert derive_trial_seed(5, "trial", 12) == 2_038_292_087
    assert derive_trial_seed(5, "trial", 12) != derive_trial_seed(51, "trial", 2)


def test_search_fills_its_slots_and_ends(tmp_path: Path) -> None:
    driven = Driven(study(trials=5), tmp_path, slots=2)
    assert [type(driven.start()) for _ in range(3)] == [dict, dict, type(None)]
    while driven.step():
        assert len(driven.live) <= 2
    assert driven.start() == Searcher.FINISHED
    assert driven.killed().start() == Searcher.FINISHED


# --- what Optuna is told ------------------------------------------------------------------------------------------


def test_optuna_learns_the_end_of_every_trial(tmp_path: Path) -> None:
    driven = Driven(study(trials=14), tmp_path).run()
    for proposal, trial in zip(driven.proposals, driven.searcher.study.trials, strict=True):
        config = {"parameters": proposal.parameters, "seed": proposal.seed}
        values = [accuracy(config, epoch) for epoch in range(1, EPOCHS + 1)]
        state, count, value = {
            "complete": (TrialState.COMPLETE, 3, values[2]),
            "pruned": (TrialState.PRUNED, 2, values[1]),
            "crashed": (TrialState.FAIL, 1, None),
            "error": (TrialState.PRUNED, 1, values[0]),
        }[fate({"number": proposal.number, "purpose": "search"})]
        assert trial.state == state
        assert trial.value == value
        assert trial.intermediate_values == dict(enumerate(values[:count], start=1))
        assert trial.constraints == {}


@pytest.mark.parametrize("kind", ["diverged", "memory", "configuration"])
def test_trial_that_cannot_be_trained_is_infeasible(kind: str, tmp_path: Path) -> None:
    spec = study(sampler="tpe")
    driven = Driven(spec, tmp_path, slots=1)
    config = driven.start()
    assert isinstance(config, dict)
    trial = driven.live[0]
    driven.train(trial)
    driven.searcher.on_trial_complete(trial.trial_id, {"error": "no", "error_kind": kind})
    driven.recorder.on_trial_result(0, [], trial, {"error": "no", "error_kind": kind})
    driven.recorder.end([0], "FAILED")
    (live,) = driven.searcher.study.trials
    assert (live.state, live.constraints) == (TrialState.PRUNED, {"trainable": 1.0})
    row = driven.tables.trials().iloc[0]
    assert (row["state"], row["error_kind"]) == ("FAILED", kind)
    (rebuilt,) = driven.killed().searcher.study.trials
    assert rebuilt.constraints == live.constraints
    assert told([rebuilt]) == told([live])


@pytest.mark.slow
def test_tpe_leaves_a_cliff_behind() -> None:
    """The best value lies right below learning rates that diverge."""
    spec = study({"learning_rate": FLAT["learning_rate"]}, "tpe", trials=90)

    def share_beyond(kind: str) -> float:
        searcher, beyond = bare(spec), []
        for number in range(90):
            config = searcher.suggest(str(number))
            assert isinstance(config, dict)
            rate = config["parameters"]["learning_rate"]
            beyond.append(rate > 0.02)
            if not beyond[-1]:
                for epoch in (1, 2, 3):
                    value = 1 + math.log10(rate) / 4 + epoch / 100
                    result = {"epoch": epoch, "epochs_planned": 3, "val_accuracy": value}
                    searcher.on_trial_result(str(number), result)
                searcher.on_trial_complete(str(number), result)
            elif kind == "crash":
                searcher.on_trial_complete(str(number), error=True)
                searcher.give_up(number, kind)
            else:
                searcher.on_trial_complete(str(number), {"error": "nan", "error_kind": kind})
        return sum(beyond[30:]) / 60

    assert share_beyond("diverged") < share_beyond("crash") / 2


def test_retry_alone_waits_for_running_trials() -> None:
    searcher = bare(study())
    first, _ = searcher.suggest("a"), searcher.suggest("b")
    searcher.on_trial_complete("a", error=True)
    searcher.retry(Retry(0, alone=True))
    assert searcher.suggest("c") is None  # while b runs
    searcher.on_trial_complete("b", {"epoch": 3, "epochs_planned": 3, "val_accuracy": 0.5})
    assert searcher.suggest("d") == {**first, "avoid": None, "alone": True}  # type: ignore[dict-item]
    searcher.started("d")
    assert searcher.suggest("e") is None
    searcher.on_trial_complete("d", {"epoch": 3, "epochs_planned": 3, "val_accuracy": 0.5})
    assert isinstance(searcher.suggest("f"), dict)


def test_retry_holds_new_proposals(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("tuner.search.retry_queue.time.monotonic", lambda: clock[0])
    searcher = bare(study())
    searcher.suggest("a")
    searcher.on_trial_complete("a", error=True)
    searcher.retry(Retry(0, not_before=110.0, holds=True))
    assert searcher.suggest("b") is None
    clock[0] = 110.0
    config = searcher.suggest("c")
    assert isinstance(config, dict)
    assert config["number"] == 0


def test_crashed_trial_is_told_as_fail() -> None:
    searcher = bare(study())
    searcher.suggest("a")
    searcher.on_trial_complete("a", error=True)
    assert searcher.study.trials[0].state == TrialState.RUNNING  # until it is known what follows
    searcher.give_up(0, "crash")
    assert searcher.study.trials[0].state == TrialState.FAIL


def test_trial_that_never_began_is_proposed_again() -> None:
    searcher = bare(study())
    first = searcher.suggest("a")
    searcher.on_trial_complete("a", None)
    assert searcher.suggest("b") == first


def test_repeated_report_is_passed_over(tmp_path: Path) -> None:
    before = Driven(study(), tmp_path, slots=1).run(3)  # a start and two epochs
    before.tables.flush()
    after = before.killed()
    after.start()
    for epoch in (1, 2, 3):
        result = {"epoch": epoch, "epochs_planned": EPOCHS, "val_accuracy": epoch / 10, "replayed": epoch < 3}
        after.searcher.on_trial_result(after.live[0].trial_id, result)
    reported = after.searcher.study.trials[0].intermediate_values
    config = before.live[0].config
    assert reported == {1: accuracy(config, 1), 2: accuracy(config, 2), 3: 0.3}


@pytest.mark.slow
@pytest.mark.parametrize("space", [FLAT, NESTED, GRID], ids=["flat", "nested", "grid"])
@pytest.mark.parametrize("calls", [0, 21, 10_000])
def test_tables_rebuild_the_study(space: dict[str, Any], calls: int, tmp_path: Path) -> None:
    spec = study(space, "grid" if space is GRID else "tpe", trials=10)
    driven = Driven(spec, tmp_path).run(calls)
    driven.tables.flush()
    expected = told(driven.searcher.study.trials)
    assert told(driven.killed(compacts=False).searcher.study.trials) == expected
    assert told(driven.killed().searcher.study.trials) == expected


@pytest.mark.slow
def test_several_objectives_allow_no_pruned_trial(tmp_path: Path) -> None:
    goals = [{"maximize": "val_accuracy"}, {"minimize": "val_loss"}]
    for sampler, count in (("tpe", 8), ("nsga2", GENETIC), ("nsga3", GENETIC)):
        driven = Driven(study(sampler=sampler, trials=count, objective=goals), tmp_path / sampler).run()
        table, trials = driven.tables.trials(), driven.searcher.study.trials
        for row, trial in zip(table.to_dict("records"), trials, strict=True):
            assert row["state"] == {"complete": "COMPLETE", "pruned": "PRUNED"}.get(
                fate({"number": row["number"], "purpose": "search"}), "FAILED"
            )
            if row["state"] == "COMPLETE":
                assert trial.values == [row["val_accuracy"], row["val_loss"]] == list(row["values"])
            else:
                assert trial.state == TrialState.FAIL
        assert (table["state"] == "PRUNED").any()
        assert driven.searcher.study.best_trials
        assert told(driven.killed().searcher.study.trials) == told(trials)


@pytest.mark.slow
def test_searcher_rebuilds_no_repeats(tmp_path: Path) -> None:
    driven = Driven(study(trials=4, repeats={"top": 1, "seeds": 2}), tmp_path).run()
    assert len(driven.tables.trials()) == 6
    assert len(driven.killed().searcher.study.trials) == 4


# --- repeats ------------------------------------------------------------------------------------------------------


def repeats(trials: pd.DataFrame) -> pd.DataFrame:
    return trials[trials["purpose"] == "repeat"]


@pytest.mark.slow
def test_interrupted_repeats_are_not_doubled(tmp_path: Path) -> None:
    spec = study(trials=6, repeats={"top": 2, "seeds": 2})
    trials = Driven(spec, tmp_path / "whole").run().tables.trials()
    for calls in (12, 27):
        before = Driven(spec, tmp_path / str(calls)).run(calls)
        assert (before.proposals[-1].purpose == "repeat") == (calls > 20)
        again = before.killed().run().tables.trials()
        columns = ["number", "seed", "purpose", "repeat_of", "state", "value", "origin"]
        pd.testing.assert_frame_equal(again[columns], trials[columns])

    complete = trials[(trials["state"] == "COMPLETE") & (trials["purpose"] == "search")]
    best = complete.sort_values("value", ascending=False)["number"].head(2)
    assert list(repeats(trials)["repeat_of"]) == [number for number in best for _ in range(2)]
    assert trials["seed"].is_unique
    for row in repeats(trials).to_dict("records"):
        original = trials[trials["number"] == row["repeat_of"]].iloc[0]
        for name in FLAT:
            assert row[f"param_{name}"] == original[f"param_{name}"]


def test_repeats_wait_until_the_search_is_over(tmp_path: Path) -> None:
    driven = Driven(study(trials=3, repeats={"top": 1, "seeds": 1}), tmp_path, slots=3)
    assert [type(driven.start()) for _ in range(3)] == [dict] * 3
    while driven.live:
        driven.searcher._slots = lambda: 4
        assert driven.start() is None  # a trial that is still running may be the best
        trial = driven.live.pop(0)
        if not driven.train(trial):
            driven.live.append(trial)
    config = driven.start()
    assert isinstance(config, dict)
    assert config["purpose"] == "repeat"


@pytest.mark.slow
def test_longer_search_repeats_only_new_bests(tmp_path: Path) -> None:
    many = {"top": 1, "seeds": 2}
    first = Driven(study(trials=3, repeats=many), tmp_path).run()
    old = set(repeats(first.tables.trials())["repeat_of"])
    second = first.killed(study(trials=24, repeats=many)).run().tables.trials()
    complete = second[(second["state"] == "COMPLETE") & (second["purpose"] == "search")]
    new = set(complete.nlargest(1, "value")["number"])
    assert old != new
    assert repeats(second).groupby("repeat_of").size().to_dict() == dict.fromkeys(old | new, 2)
    assert list(second["number"]) == list(range(len(second)))


@pytest.mark.slow
def test_all_completed_trials_can_be_repeated(tmp_path: Path) -> None:
    trials = Driven(study(trials=8, repeats={"top": "all", "seeds": 1}), tmp_path).run().tables.trials()
    search = trials[trials["purpose"] == "search"]
    complete = set(search.loc[search["state"] == "COMPLETE", "number"])
    assert set(repeats(trials)["repeat_of"]) == complete
    assert len(complete) < 8


def test_search_without_completed_trials_has_no_repeats() -> None:
    searcher = bare(study(trials=1, repeats={"top": 3, "seeds": 5}))
    searcher.suggest("a")
    searcher.on_trial_complete("a", error=True)
    searcher.give_up(0, "crash")
    assert searcher.suggest("b") == Searcher.FINISHED


# --- speed --------------------------------------------------------------------------------------------------------


def test_report_costs_do_not_grow() -> None:
    searcher = bare(study(trials=100))
    calls: list[int] = []
    for number in range(100):
        searcher.suggest(str(number))
        for epoch in range(1, 21):
            result = {"epoch": epoch, "epochs_planned": 20, "val_accuracy": epoch / 20}
            calls.append(calls_of(lambda number=number, result=result: searcher.on_trial_result(str(number), result)))
        assert outcome(result) == "COMPLETE"
        searcher.on_trial_complete(str(number), result)
    assert max(calls[-20:]) <= max(calls[:20])


@pytest.mark.slow
def test_costs_of_a_rebuilt_trial_do_not_grow(tmp_path: Path) -> None:
    few, many = (calls_of_rebuilding(tmp_path / str(trials), trials) for trials in (50, 200))
    assert many / 200 < 1.2 * few / 50


def calls_of_rebuilding(folder: Path, count: int) -> int:
    """Count the calls of rebuilding a study of completed trials."""
    spec = study(trials=count)
    searcher = bare(spec)
    tables = Tables(Storage(folder), spec.space)
    for number in range(count):
        config = searcher.suggest(str(number))
        assert isinstance(config, dict)
        row = {"number": number, "attempt": 1, "state": "COMPLETE", "purpose": "search", "updated_at": now()}
        row |= {"value": 0.5, "values": [0.5], "sampler_attrs": "{}", "seed": config["seed"]}
        tables.append("trials", row | parameters_to_row(spec.space, config["parameters"]))
        for epoch in range(1, 21):
            cells = {"number": number, "attempt": 1, "epoch": epoch, "val_accuracy": epoch / 40, "at": now()}
            tables.append("epochs", cells)
        searcher.on_trial_complete(str(number), {"epoch": 20, "epochs_planned": 20, "val_accuracy": 0.5})
    tables.flush()
    trials, epochs = tables.trials(), tables.epochs()
    rebuilt = rebuild_study(spec, trials, epochs)
    assert len(rebuilt.trials) == count
    assert [trial.params for trial in rebuilt.trials] == [trial.params for trial in searcher.study.trials]
    assert rebuilt.trials[-1].intermediate_values == {epoch: epoch / 40 for epoch in range(1, 21)}
    return calls_of(lambda: rebuild_study(spec, trials, epochs))


def test_sampler_has_its_seed() -> None:
    for sampler in ("mixed", "tpe", "curves", "random", "gp", "cmaes", "nsga2", "nsga3", "qmc"):
        draws = []
        for seed in (1, 1, 2, 3, 4):
            spec = study(NUMBERS, sampler, trials=GENETIC, seed=seed)
            optuna_study = optuna.create_study()
            optuna_study.sampler = make_sampler(spec, 0, optuna_study)
            draws.append(suggest_value(optuna_study.ask(), "dropout", spec.space["dropout"]))
        assert draws[0] == draws[1]
        assert len(set(draws)) > 1


# --- budgets ---------------------------------------------------------------------------------------


def numbers(driven: Driven) -> list[int]:
    return sorted(driven.recorder.trials()["number"])


@pytest.mark.slow
def test_trial_budget_begins_no_more(tmp_path: Path) -> None:
    spec = study(trials=12, budget={"trials": 5})
    first = Driven(spec, tmp_path).run()
    assert numbers(first) == list(range(5))
    assert first.searcher.limit == "budget.trials"
    assert not set(first.recorder.trials()["state"]) & {"RUNNING", "PAUSED"}
    raised = first.killed(study(trials=12, budget={"trials": 50})).run()
    assert numbers(raised) == list(range(12))
    assert raised.searcher.limit is None


@pytest.mark.slow
def test_trial_budget_keeps_waiting_trials(tmp_path: Path) -> None:
    promoting = {"asha": {"reduction_factor": 2}}
    first = Driven(study(trials=12, stopping=promoting, budget={"trials": 8}), tmp_path).run()
    assert {"PAUSED", "COMPLETE"} <= set(first.recorder.trials()["state"])
    raised = first.killed(study(trials=12, stopping=promoting)).run()
    assert numbers(raised) == list(range(12))
    assert "PAUSED" not in set(raised.recorder.trials()["state"])


@pytest.mark.parametrize(("most", "repeated"), [(6, 0), (9, 3), (12, 6)])
@pytest.mark.slow
def test_trial_budget_counts_repeats(most: int, repeated: int, tmp_path: Path) -> None:
    repeats = {"top": 2, "seeds": 3}
    driven = Driven(study(trials=6, repeats=repeats, budget={"trials": most}), tmp_path).run()
    assert (driven.recorder.trials()["purpose"] == "repeat").sum() == repeated
    assert driven.searcher.limit == (None if repeated == 6 else "budget.trials")
    after = driven.killed(study(trials=6, repeats=repeats)).run()
    assert (after.recorder.trials()["purpose"] == "repeat").sum() == 6


@pytest.mark.slow
def test_epoch_budget_counts_over_kills(tmp_path: Path) -> None:
    spec = study(trials=40, budget={"epochs": 40})
    driven = Driven(spec, tmp_path)
    for calls in (13, 21, 1000):  # which leave rows that never reach the disk
        while driven.meter.limit is None and calls:
            driven.step()
            calls -= 1
        driven = driven if driven.meter.limit else driven.killed()
    driven.recorder.flush_all()
    assert driven.meter.limit == "epochs"
    assert len(driven.tables.history("epochs")) == 40
    assert driven.killed().meter.limit == "epochs"


def test_plateau_ends_a_search_without_progress(tmp_path: Path) -> None:
    spec = study(trials=60, budget={"plateau": 6})
    driven = Driven(spec, tmp_path, slots=1).run()
    trials, epochs = driven.recorder.trials(), driven.tables.epochs()
    assert driven.searcher.limit == "budget.plateau"
    assert len(trials) < 60
    leader = epochs.loc[epochs["val_accuracy"].idxmax(), "number"]
    assert len(trials) == leader + 1 + 6
    bests = epochs.groupby("number")["val_accuracy"].max()
    records = [number for number in bests.index if bests[number] == bests[:number].max()]
    gaps = [later - earlier - 1 for earlier, later in pairwise(records)]
    assert max(gaps, default=0) < 6  # or else it would have ended before


@pytest.mark.slow
def test_plateau_counts_over_a_kill(tmp_path: Path) -> None:
    spec = study(trials=60, budget={"plateau": 6})
    whole = Driven(spec, tmp_path / "whole", slots=1).run()
    for calls in (7, 41):
        killed = Driven(spec, tmp_path / f"killed-{calls}", slots=1).run(calls).killed().run()
        assert numbers(killed) == numbers(whole)
    raised = killed.killed(study(trials=60, budget={"plateau": 20})).run(8)
    assert len(numbers(raised)) > len(numbers(whole))


@pytest.mark.slow
def test_plateau_of_two_objectives_follows_the_front(tmp_path: Path) -> None:
    two = [{"maximize": "val_accuracy"}, {"minimize": "val_loss"}]  # whose order is the same
    spec = study(trials=60, budget={"plateau": 6})
    assert numbers(Driven(study(trials=60, objective=two, budget={"plateau": 6}), tmp_path / "two", slots=1).run()) == (
        numbers(Driven(spec, tmp_path / "one", slots=1).run())
    )


# --- constraints -----------------------------------------------------------------------------------

SMALL = {"parameters_count": {"max": 12_800}}  # as half of the trials are, on the scale of `dense`


@pytest.mark.parametrize("sampler", ["mixed", "nsga2"])
@pytest.mark.slow
def test_constraint_keeps_large_networks_from_training(sampler: str, tmp_path: Path) -> None:
    trials = GENETIC if sampler == "nsga2" else 24
    spec = study(sampler=sampler, trials=trials, constraints=SMALL)
    driven = Driven(spec, tmp_path).run()
    rows, trained = driven.recorder.trials(), {proposal.number for proposal in driven.proposals}
    is_large = rows["parameters_count"] > 12_800
    assert is_large.any()
    assert len(trained) == (~is_large).sum() == trials
    assert set(rows.loc[is_large, "state"]) == {"PRUNED"}
    assert not set(driven.tables.epochs()["number"]) & set(rows.loc[is_large, "number"])
    assert rows.loc[is_large, "error"].str.fullmatch(r"parameters_count [\d,]+ is not at most 12,800").all()
    told = {trial.user_attrs["number"]: trial.constraints for trial in driven.searcher.study.trials}
    sound = rows[rows["state"] != "FAILED"]
    for number, count in zip(sound["number"], sound["parameters_count"], strict=True):
        assert told[number] == {"parameters_count": pytest.approx((count - 12_800) / 12_800)}


@pytest.mark.slow
def test_constraint_refuses_the_same_after_a_kill(tmp_path: Path) -> None:
    spec = study(sampler="tpe", trials=12, constraints=SMALL)
    whole = Driven(spec, tmp_path / "whole", slots=1).run()
    killed = Driven(spec, tmp_path / "killed", slots=1).run(21).killed().run()
    columns = ["number", "state", "error", "parameters_count", "param_dense", "param_learning_rate"]
    pd.testing.assert_frame_equal(killed.recorder.trials()[columns], whole.recorder.trials()[columns])


def test_constraint_of_a_grid_ends_with_its_points(tmp_path: Path) -> None:
    grid = {"dense": {"choice": [50, 100, 200, 400]}}
    driven = Driven(study(grid, "grid", trials=4, constraints=SMALL), tmp_path).run()
    assert list(driven.recorder.trials()["param_dense"]) == [50, 100, 200, 400]
    assert len(driven.proposals) == 2


def test_constraint_outside_of_the_space_ends_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.search.ask_and_tell.MOST_REFUSED", 9)
    impossible = study(constraints={"parameters_count": {"max": 10}})
    with pytest.raises(StudyError, match=r"^constraints: none of 9 configurations in a row is inside, such as"):
        Driven(impossible, tmp_path).run()


@pytest.mark.slow
def test_constraint_on_a_measurement_leaves_no_such_trial_best(tmp_path: Path) -> None:
    objective = {"maximize": "val_accuracy"}
    spec = study(trials=20, objective=objective, constraints={"val_accuracy": {"max": 0.45}})
    driven = Driven(spec, tmp_path).run()
    rows = driven.recorder.trials()
    complete = rows[rows["state"] == "COMPLETE"]
    assert complete["value"].max() > 0.45 > complete["value"].min()
    ranked = rank(spec, rows)
    assert sorted(ranked["number"]) == sorted(complete.loc[complete["value"] <= 0.45, "number"])
    told = {
        trial.user_attrs["number"]: trial.constraints["val_accuracy"]
        for trial in driven.searcher.study.trials
        if trial.state == TrialState.COMPLETE
    }
    assert {number for number, excess in told.items() if excess <= 0} == set(ranked["number"])


# --- several objectives at the rungs ---------------------------------------------------------------


@pytest.mark.slow
def test_search_by_fronts_resumes_as_if_never_interrupted(tmp_path: Path) -> None:
    two = [{"maximize": "val_accuracy"}, {"minimize": "parameters_count"}]
    promoting = {"asha": {"reduction_factor": 2, "min_trials": 2}}
    spec = study(sampler="random", trials=14, objective=two, stopping=promoting)
    whole = Driven(spec, tmp_path / "whole", slots=1).run()
    killed = Driven(spec, tmp_path / "killed", slots=1).run(40).killed().run()
    columns = ["number", "rung", "epoch", "value", "rank", "of", "verdict"]
    decided, expected = (driven.tables.history("decisions")[columns] for driven in (killed, whole))
    pd.testing.assert_frame_equal(
        decided.sort_values([*columns]), expected.sort_values([*columns]), check_index_type=False
    )
    assert list(killed.recorder.trials()["state"]) == list(whole.recorder.trials()["state"])
    assert "promote" in set(expected["verdict"])
    assert (whole.recorder.trials()["state"] == "COMPLETE").sum() >= FRONT_FINALISTS
