from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from tuner.config.study import StudyConfig, parse_spec
from tuner.search.importance import COLUMNS, importance

SPACE = {
    "architecture": {"choice": ["vazquez_base", "rubio_small"]},
    "learning_rate": {"float": [1e-4, 1e-1], "log": True},
    "weight_decay": {"float": [0.0, 0.1]},
    "batch_size": {"int": [8, 512], "log": True},
    "filters": {"choice": [16, 24, 32], "when": {"architecture": "rubio_small"}},
}
Tables = tuple[pd.DataFrame, pd.DataFrame]
Cells = dict[str, float]


@pytest.fixture(scope="module")
def spec() -> StudyConfig:
    return parse_spec({"study": "demo", "space": SPACE, "search": {"trials": 80}})


def measured(value: Callable[[Cells], float], count: int = 80) -> Tables:
    """Trials drawn at random, with a value after epoch 1, and another after epoch 2."""
    rng = np.random.default_rng(7)
    trials: list[dict[str, object]] = []
    epochs: list[dict[str, object]] = []
    for number in range(count):
        drawn = {
            "learning_rate": float(10 ** rng.uniform(-4, -1)),
            "weight_decay": float(rng.uniform(0, 0.1)),
            "batch_size": int(np.exp(rng.uniform(np.log(8), np.log(512)))),
            "filters": int(rng.choice([16, 24, 32])),
        }
        cells = {f"param_{name}": cell for name, cell in drawn.items()}
        trials.append({"number": number, "purpose": "search", "param_architecture": "rubio_small", **cells})
        epochs.append({"number": number, "epoch": 1, "val_accuracy": value(drawn)})
        epochs.append({"number": number, "epoch": 2, "val_accuracy": drawn["weight_decay"]})
    return pd.DataFrame(trials), pd.DataFrame(epochs)


@pytest.fixture
def small_forests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few resamples and trees, for tests that ask which trials and parameters count."""
    monkeypatch.setattr("tuner.search.importance.RESAMPLES", 3)
    monkeypatch.setattr("tuner.search.importance.TREES", 8)


def by_rate(drawn: Cells) -> float:
    """A value that falls as the logarithm of the learning rate leaves -2.5."""
    return 0.8 - 0.2 * abs(np.log10(drawn["learning_rate"]) + 2.5)


@pytest.mark.slow
def test_importance_finds_the_parameter_that_decides(spec: StudyConfig) -> None:
    table = importance(spec, *measured(by_rate))
    assert table.index[0] == "learning_rate"
    assert table["importance"].iloc[0] > 0.8
    assert table["importance"].iloc[1:].max() < 0.1
    assert table["importance"].sum() <= 1 + 1e-9
    assert table["low"].iloc[0] > table["high"].iloc[1]
    assert {*table.index} == {"learning_rate", "weight_decay", "batch_size", "filters"}  # the network never varies


@pytest.mark.slow
def test_importance_for_the_best_differs_from_that_for_all(spec: StudyConfig) -> None:
    """The learning rate decides which trials are bad, the weight decay which of the others are the best."""

    def steep(drawn: Cells) -> float:
        return 0.1 if drawn["learning_rate"] < 1e-3 else 0.8 + drawn["weight_decay"]

    table = importance(spec, *measured(steep))
    assert table["importance"].idxmax() == "learning_rate"
    assert table["best"].idxmax() == "weight_decay"
    assert table["best"].sum() == pytest.approx(1)
    assert table["best_low"]["weight_decay"] > table["best_high"]["batch_size"]


@pytest.mark.usefixtures("small_forests")
@pytest.mark.slow
def test_importance_compares_trials_at_the_epoch(spec: StudyConfig) -> None:
    assert importance(spec, *measured(by_rate), epoch=2).index[0] == "weight_decay"


@pytest.mark.usefixtures("small_forests")
@pytest.mark.slow
def test_importance_leaves_out_what_some_lack(spec: StudyConfig) -> None:
    trials, epochs = measured(by_rate)
    trials.loc[:20, ["param_architecture", "param_filters"]] = ["vazquez_base", np.nan]
    assert {*importance(spec, trials, epochs).index} == {"architecture", "learning_rate", "weight_decay", "batch_size"}


@pytest.mark.usefixtures("small_forests")
@pytest.mark.slow
def test_importance_is_the_same_each_time(spec: StudyConfig) -> None:
    tables = measured(by_rate, count=20)
    pd.testing.assert_frame_equal(importance(spec, *tables), importance(spec, *tables))


@pytest.mark.usefixtures("small_forests")
@pytest.mark.slow
def test_importance_ignores_repeats_and_unmeasured_trials(spec: StudyConfig) -> None:
    trials, epochs = measured(by_rate)
    more = trials.assign(purpose=["search"] * 30 + ["repeat"] * 50)
    expected = importance(spec, trials.head(30), epochs)
    pd.testing.assert_frame_equal(importance(spec, more, epochs), expected)
    pd.testing.assert_frame_equal(importance(spec, trials, epochs[epochs["number"] < 30]), expected)


@pytest.mark.parametrize(
    "tables",
    [
        tuple(table.head(0) for table in measured(by_rate, count=1)),
        measured(by_rate, count=1),
        measured(lambda _: 0.5, count=5),
        tuple(pd.concat([table] * 3) for table in measured(by_rate, count=1)),
    ],
    ids=["no-trial", "one-trial", "equal-values", "equal-parameters"],
)
def test_importance_without_variation_is_empty(spec: StudyConfig, tables: Tables) -> None:
    table = importance(spec, *tables)
    assert table.empty
    assert [*table.columns] == COLUMNS


@pytest.mark.slow
def test_importance_of_few_trials_has_every_parameter(spec: StudyConfig) -> None:
    trials, epochs = measured(by_rate, count=3)
    epochs["val_accuracy"] = [0.5, 0.5] * 2 + [0.6, 0.6]  # so that many resamples vary in nothing
    table = importance(spec, trials, epochs)
    assert {"learning_rate", "weight_decay", "batch_size"} <= {*table.index}
    assert table["importance"].between(0, 1).all()
