import io
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import scipy
from rich.console import Console
from rich.table import Table

from benchmarks.verdict_errors import VERDICTS, claim_rates, verdict_rates
from tuner import reproduction
from tuner.analysis.leaderboard import load_or_empty
from tuner.cli.reproduction_tables import full_width, screen
from tuner.reproduction import reported
from tuner.reproduction.evidence import Number, compare_best
from tuner.reproduction.runs import SHAPES
from tuner.reproduction.shapes import write_shapes
from tuner.reproduction.verdicts import MARGINS, RULES, judge, margin, pooled
from tuner.results.folder import StudyFolder, load_study

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
Row = dict[str, Any]
Write = Callable[..., None]
GRID = [
    {"batch_size": batch, "epochs": epochs, "learning_rate": rate}
    for batch in (32, 64, 128)
    for epochs in (5, 10, 15)
    for rate in (0.01, 0.001, 0.0001)
]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes a published study with its tables."""

    def write(study: str, trials: list[Row], **tables: list[Row]) -> None:
        folder, spec = StudyFolder(tmp_path / study), reported.load_study_file(study)
        folder.storage.create()
        folder.write_spec(spec)
        writer = folder.tables(spec)
        for table, rows in {**tables, "trials": trials}.items():
            for row in rows:
                writer.append(table, {"study": study, "attempt": 1, **row})  # type: ignore[arg-type]
        writer.flush()

    return write


def trial(number: int, accuracy: float | None = None, **cells: Any) -> Row:
    return {
        "number": number,
        "state": "COMPLETE",
        "test_accuracy": accuracy,
        "test_loss": 1.0,
        "purpose": "search",
        "updated_at": START + timedelta(seconds=number),
        **cells,
    }


def seeds(*accuracies: float) -> list[Row]:
    """Return a trial of the search and its repeats."""
    first, *repeated = accuracies
    again = [trial(number, value, purpose="repeat", repeat_of=0) for number, value in enumerate(repeated, 1)]
    return [trial(0, first), *again]


def grid(accuracy: Callable[[float, int, int], float], **cells: Any) -> list[Row]:
    return [
        trial(number, accuracy(point["learning_rate"], point["batch_size"], int(point["epochs"])), **cells)
        | {f"param_{name}": value for name, value in point.items()}
        for number, point in enumerate(GRID)
    ]


def epoch(number: int, epoch: int, **cells: Any) -> Row:
    return {"number": number, "epoch": epoch, "at": START, **cells}


def row(compared: pd.DataFrame, row: str, quantity: str) -> "pd.Series[Any]":
    (found,) = compared[(compared["row"] == row) & (compared["quantity"] == quantity)].to_dict("records")
    return pd.Series(found)


def verdicts_by_claim(name: str, results: Path, protocol: str = "as_published") -> dict[str, tuple[str, str]]:
    """Return verdict and numbers of each claim by its first characters."""
    claims = reproduction.claims(name, results, protocol)
    return {claim[:24]: (verdict, numbers) for claim, verdict, numbers in claims.iloc[:, 1:].itertuples(index=False)}


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [
        (0.0, "reproduced"),
        (0.81, "reproduced"),  # the interval is the difference +- 1.185
        (0.82, "too noisy to tell"),
        (-3.18, "too noisy to tell"),
        (-3.19, "differs"),
        (10.0, "differs"),
    ],
)
def test_judge_sets_interval_against_margin(difference: float, verdict: str) -> None:
    assert judge(difference, 0.4, 3, 2.0, 0.0).verdict == verdict
    assert judge(difference / 100, 0.004, 3, 0.02, 0.0).verdict == verdict


def test_judge_widens_interval_for_reported_run() -> None:
    spread = math.sqrt((2 * 3.5**2 + 0.5**2) / 3)  # an assumed pair of seeds, 0.5 points apart
    half = scipy.stats.t.ppf(0.95, 3) * spread * math.sqrt(1 + 1 / 3)
    found = judge(-10.0, 3.5, 3, 2.0, 0.005)
    assert (found.low, found.high) == pytest.approx((-10 - half - 0.005, -10 + half + 0.005))


def test_judge_calls_one_seed_close_or_far() -> None:
    judged = [judge(difference, math.nan, 1, 2.0, 0.005) for difference in (2.004, -2.006, 40.0)]
    assert [found.verdict for found in judged] == ["close", "far", "far"]
    assert all(math.isnan(found.low) and math.isnan(found.high) for found in judged)


def test_margin_depends_on_kind_of_number() -> None:
    assert (margin(70.26, "%"), margin(0.7026, "share")) == (2.0, 0.02)
    assert (margin(98.66, "%"), margin(0.9866, "share")) == (0.5, 0.005)
    assert margin(1433.4, "nats") == pytest.approx(143.34)
    assert math.isnan(margin(116.7, "s"))
    assert math.isnan(margin(math.nan, "%"))


def test_pooled_weighs_deviations_by_degrees_of_freedom() -> None:
    rows = [(1.0, 3), (2.0, 2), (math.nan, 1)]
    assert pooled(rows, 2.0) == (pytest.approx(math.sqrt((2 * 1 + 1 * 4 + 1 * 0.25) / 4)), 4)
    assert pooled([], 2.0) == (0.5, 1)


def number(row: str, measured: float, spread: float = 0.5, seeds: int = 3, verdict: str = "") -> Number:
    return Number(row, 60.0, measured, spread, seeds, "%", verdict, {})


def test_compare_best_needs_wider_lead_of_many() -> None:
    best, *rivals = rows = [number(str(row), 60.0) for row in range(27)]
    rivals[3] = number("3", 61.8)
    assert compare_best([best], [rivals[3]], rows) == "does not hold"
    assert compare_best([best], rivals, rows) == "cannot be told (closer than the spread)"
    rivals[3] = number("3", 64.0)
    assert compare_best([best], rivals, rows) == "does not hold"
    assert compare_best([number("best", 66.0)], rivals, rows) == "holds"


def test_compare_best_leaves_out_failed_rows() -> None:
    best, rival = number("best", 60.0), number("rival", 50.0)
    failed, not_run = number("failed", math.nan, verdict="failed"), number("not run", math.nan)
    assert compare_best([best], [rival, failed], [best, rival]) == "holds"
    assert compare_best([best], [failed], [best, rival]) == "cannot be told (training failed)"
    assert compare_best([failed], [rival], [best, rival]) == "cannot be told (training failed)"
    assert compare_best([best], [failed, not_run], [best, rival]) == "cannot be told (not run)"


def test_compare_best_needs_a_repeated_row() -> None:
    best, rival = (number(row, value, math.nan, 1) for row, value in (("best", 90.0), ("rival", 10.0)))
    assert compare_best([best], [rival], [best, rival]) == "cannot be told (one run each)"
    repeated = number("repeated", 40.0)
    assert compare_best([best], [rival], [best, rival, repeated]) == "holds"


def test_verdict_rates_keep_errors_low() -> None:
    def rates(difference: float, spread: float, seeds: int) -> dict[str, float]:
        return verdict_rates(difference, spread, seeds, studies=1000, seed=0)

    for seeds in (3, 5):
        assert rates(0, 0.5, seeds)["reproduced"] > 0.65
        assert rates(0, 0.5, seeds).get("differs", 0) == 0
        assert rates(10, 0.5, seeds) == {"differs": 1}
        assert rates(0, 3.5, seeds)["differs"] < 0.11
        assert rates(3, 3.5, seeds).get("reproduced", 0) < 0.05
        assert rates(10, 3.5, seeds).get("reproduced", 0) == 0
        assert rates(10, 3.5, seeds)["differs"] > 0.5
    assert set(rates(10, 3.5, 1)) == {"close", "far"}


@pytest.mark.slow
def test_claim_rates_keep_errors_low() -> None:
    for spread in (0.5, 3.5):
        rates, uncorrected = claim_rates(0, spread, seeds=3, studies=200, seed=0)
        assert rates.get("holds", 0) + rates.get("does not hold", 0) < 0.06 < uncorrected
    rates, _ = claim_rates(3, 0.5, seeds=3, studies=100, seed=0)
    assert rates == {"holds": 1}


PAGE = Path(__file__).parents[2] / "docs" / "reproducing-reports.md"


@pytest.mark.parametrize(("spread", "seeds", "difference"), [(0.5, 3, 0), (3.5, 1, 0), (3.5, 3, 10)])
def test_documentation_has_the_measured_error_rates(spread: float, seeds: int, difference: int) -> None:
    rates = verdict_rates(difference, spread, seeds, studies=10_000, seed=0)
    cells = [f"{100 * rates[word]:.1f}" if word in rates else "" for word in VERDICTS]
    assert f"| {' | '.join([f'{spread}', f'{seeds}', f'{difference}', *cells])} |" in PAGE.read_text()


def test_documentation_has_every_rule() -> None:
    page = PAGE.read_text()
    for word, meaning in RULES.items():
        assert f"| **{word}** | {meaning} |" in page
    assert MARGINS in page


@pytest.mark.parametrize("name", reported.REPORTS)
def test_table_without_studies_is_not_run(name: str, tmp_path: Path) -> None:
    compared = reproduction.table(name, tmp_path)
    assert len(compared) == len(reported.lines(name))
    assert set(compared["verdict"]) == {"not run"}
    assert compared[["reproduced", "spread", "low", "high"]].isna().all(axis=None)
    assert (compared["seeds"] == 0).all()
    claims = reproduction.claims(name, tmp_path)
    contradicts_itself = claims["claim"].str.contains("as the discussion says")
    assert set(claims["verdict"][~contradicts_itself]) == {"cannot be told (not run)"}
    assert list(tmp_path.iterdir()) == []


def test_table_has_mean_and_deviation_of_seeds(write: Write, tmp_path: Path) -> None:
    write("vazquez_exp1", [*seeds(0.63, 0.65), trial(2, 0.1, state="FAILED", purpose="repeat", repeat_of=0)])
    found = row(reproduction.table("vazquez", tmp_path), "Exp. 1", "accuracy")
    assert (found["reported"], found["reproduced"], found["seeds"]) == (63.82, pytest.approx(64.0), 2)
    assert found["spread"] == pytest.approx(math.sqrt(2))
    assert found["difference"] == pytest.approx(0.18)
    assert found["verdict"] == "too noisy to tell"


@pytest.mark.slow
def test_table_measures_only_complete_configurations(write: Write, tmp_path: Path) -> None:
    points = grid(lambda rate, batch, epochs: rate + batch / 1000 + epochs / 100)
    write("vazquez_exp3", [*points[:-1], points[-1] | {"state": "RUNNING"}])
    compared = reproduction.table("vazquez", tmp_path)
    found = row(compared, "Exp. 3: lr 0.01, batch 64, 15 epochs", "accuracy")
    assert (found["reproduced"], found["seeds"]) == (pytest.approx(100 * (0.01 + 0.064 + 0.15)), 1)
    assert row(compared, "Exp. 3: lr 0.0001, batch 128, 15 epochs", "accuracy")["verdict"] == "not run"


def test_table_judges_three_noisy_seeds(write: Write, tmp_path: Path) -> None:
    write("vazquez_exp4", seeds(0.6346, 0.5646, 0.6038))
    found = row(reproduction.table("vazquez", tmp_path), "Exp. 4", "accuracy")
    assert (found["verdict"], found["margin"], found["seeds"]) == ("differs", 2.0, 3)
    assert (found["low"], found["high"]) == (pytest.approx(-17.97, abs=0.02), pytest.approx(-2.33, abs=0.02))


def test_table_marks_untrainable_configuration_as_failed(write: Write, tmp_path: Path) -> None:
    write("vazquez_exp1", [trial(0, state="FAILED")])
    found = row(reproduction.table("vazquez", tmp_path), "Exp. 1", "accuracy")
    assert found["verdict"] == "failed"
    assert math.isnan(found["reproduced"])


def test_table_counts_finished_epochs_and_scales_sums(write: Write, tmp_path: Path) -> None:
    rows = [epoch(0, 1, train_loss=1.8, train_accuracy=0.3, val_accuracy=0.35)]
    write("higueros_alexnet", [trial(0, state="RUNNING")], epochs=rows)
    compared = reproduction.table("higueros", tmp_path)
    log = compared[compared["table"] == "AlexNet on CIFAR-10"]
    assert row(log, "epoch 1", "train loss, sum of 782 batches")["reproduced"] == pytest.approx(1.8 * 782)
    found = row(log, "epoch 1", "test accuracy")
    assert (found["reproduced"], found["verdict"]) == (pytest.approx(35.0), "close")
    assert row(log, "epoch 2", "test accuracy")["verdict"] == "not run"
    prose = compared[compared["table"] == "AlexNet as the discussion quotes it"]
    assert row(prose, "epoch 1", "test accuracy")["difference"] == pytest.approx(35.0 - 35.72)


def steps(first: float, last: float) -> list[Row]:
    """Return steps of two seeds whose test accuracy rises in two epochs."""
    at = [40 * line for line in range(1, 47)]
    rise = {step: first + (last - first) * line / (len(at) - 1) for line, step in enumerate(at)}
    return [
        {"number": number, "epoch": 1 + (step > 938), "step": step, "train_loss": 0.5, "val_loss": 0.5}
        | {"val_accuracy": value + number / 1000}
        for number in (0, 1)
        for step, value in rise.items()
    ]


def test_table_compares_lines_with_epoch_median(write: Write, tmp_path: Path) -> None:
    write("tinoco_mnist", seeds(0.9, 0.9), steps=steps(0.7, 0.9))
    log = reproduction.table("tinoco", tmp_path).query("table == 'Log: tinoco_mnist'")
    found = row(log, "epoch 2, line 1", "test accuracy")
    lines = [each["val_accuracy"] for each in steps(0.7, 0.9) if each["epoch"] == 2]
    assert found["reproduced"] == pytest.approx(pd.Series(lines).median())
    assert (found["low"], found["high"]) == pytest.approx((min(lines) - 0.851, max(lines) - 0.851))
    assert (found["spread"], found["seeds"]) == (pytest.approx(max(lines) - min(lines)), 2)
    assert found["verdict"] == "close"
    assert row(log, "epoch 1, step 80", "test accuracy")["reproduced"] == pytest.approx(0.7 + 0.2 / 45 + 0.0005)


@pytest.mark.slow
def test_claims_tell_images_by_the_log(write: Write, tmp_path: Path) -> None:
    write("tinoco_mnist", seeds(0.9, 0.9), steps=steps(0.9, 0.98))
    assert verdicts_by_claim("tinoco", tmp_path)["The images are MNIST's d"][0] == "cannot be told (not run)"
    write("tinoco_fashion", seeds(0.9, 0.9), steps=steps(0.65, 0.86))
    verdict, numbers = verdicts_by_claim("tinoco", tmp_path)["The images are MNIST's d"]
    assert verdict == "does not hold"
    assert "Fashion-MNIST" in numbers


RUBIO = {"rubio_small": 1_816_714, "rubio_large_shared": 5_653_578, "rubio_large": 5_655_498}


def rubio(large: float, small: float, best: str = "automobile truck") -> dict[str, list[Row]]:
    """Return three networks whose predictions are right for the best classes."""
    accuracy = {"rubio_small": small, "rubio_large_shared": large, "rubio_large": large}
    trials = [
        trial(number, param_architecture=name, parameters_count=count, train_seconds=99.0)
        for number, (name, count) in enumerate(RUBIO.items())
    ]
    epochs = [
        epoch(number, each, val_accuracy=accuracy[name] - (20 - each) / 100, parameters_count=count)
        for number, (name, count) in enumerate(RUBIO.items())
        for each in range(1, 21)
    ]
    classes = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    right = {name: 10 if name in best.split() else 5 if name in ("airplane", "ship") else 1 for name in classes}
    predictions = [
        {"number": number, "split": "validation", "index": 10 * label + image, "label": label}
        | {"predicted": label if image < right[name] else (label + 1) % 10}
        for number in range(3)
        for label, name in enumerate(classes)
        for image in range(10)
    ]
    return {"trials": trials, "epochs": epochs, "predictions": predictions}


def test_table_judges_counts_but_not_times(write: Write, tmp_path: Path) -> None:
    write("rubio", **rubio(0.72, 0.69))
    compared = reproduction.table("rubio", tmp_path)
    counts = compared[compared["quantity"] == "parameters"].set_index("trial")["verdict"]
    assert counts.to_dict() == {
        "architecture=rubio_small": "exact",
        "architecture=rubio_large_shared": "differs",
        "architecture=rubio_large": "exact",
    }
    times = compared[compared["unit"] == "s"]
    assert times["reproduced"].tolist() == [99.0] * 3
    assert set(times["verdict"]) == {""}


def test_claims_rest_on_epochs_and_predictions(write: Write, tmp_path: Path) -> None:
    write("rubio", **rubio(0.71, 0.69))
    claims = verdicts_by_claim("rubio", tmp_path)
    assert [verdict for verdict, _ in claims.values()] == [*["holds"] * 4, "cannot be told (not run)"]
    assert "ahead after 20 of 20 epochs" in claims["The large network always"][1]
    assert "automobile 1.00, truck 1.00" in claims["Cars and trucks are reco"][1]


def test_claims_about_networks_can_fail(write: Write, tmp_path: Path) -> None:
    write("rubio", **rubio(0.69, 0.73, best="cat dog"))
    claims = verdicts_by_claim("rubio", tmp_path)
    assert [claims[claim][0] for claim in ("The large network always", "Cars and trucks are reco")] == [
        "does not hold",
        "does not hold",
    ]
    assert claims["Validation accuracy reac"][0] == "does not hold"


def vazquez(write: Write, one: float, two: float, four: float, tuned: float) -> None:
    write("vazquez_exp1", seeds(one, one + 0.001))
    write("vazquez_exp2", seeds(two, two + 0.001))
    write("vazquez_exp4", seeds(four, four + 0.001))
    accuracy = {0.01: 0.3, 0.001: tuned, 0.0001: 0.5}
    best = (0.001, 128, 10)
    write("vazquez_exp3", grid(lambda *point: accuracy[point[0]] if point == best else min(0.4, accuracy[point[0]])))


def test_claims_hold_beyond_the_spread(write: Write, tmp_path: Path) -> None:
    vazquez(write, one=0.6, two=0.65, four=0.7, tuned=0.62)
    claims = verdicts_by_claim("vazquez", tmp_path)
    assert claims["Changing the architectur"][0] == claims["Experiment 4 is the best"][0] == "holds"
    assert (
        "reproduced +10.00; best of the grid, reported +0.21, reproduced +1.95" in claims["Changing the architectur"][1]
    )
    assert claims["The best of the grid is "][0] == "holds"
    assert claims["A learning rate of 0.01 "][0] == "holds"


@pytest.mark.slow
def test_claims_fail_when_numbers_are_reversed(write: Write, tmp_path: Path) -> None:
    vazquez(write, one=0.6, two=0.65, four=0.7, tuned=0.9)
    claims = verdicts_by_claim("vazquez", tmp_path)
    assert claims["Changing the architectur"][0] == claims["Experiment 4 is the best"][0] == "does not hold"


@pytest.mark.slow
def test_claims_within_spread_cannot_be_told(write: Write, tmp_path: Path) -> None:
    vazquez(write, one=0.6, two=0.7, four=0.7005, tuned=0.5)
    assert (
        verdicts_by_claim("vazquez", tmp_path)["Experiment 4 is the best"][0]
        == "cannot be told (closer than the spread)"
    )


@pytest.mark.slow
def test_clean_protocol_chooses_by_validation_images(write: Write, tmp_path: Path) -> None:
    points = grid(lambda *point: 0.9 if point == (0.001, 128, 10) else 0.5, val_accuracy=0.4)
    points[0] |= {"val_accuracy": 0.6}
    write("vazquez_exp3_clean", points)
    write("vazquez_exp1_clean", seeds(0.6, 0.601))
    assert row(reproduction.table("vazquez", tmp_path), GRID_BEST, "accuracy")["verdict"] == "not run"
    found = row(reproduction.table("vazquez", tmp_path, "clean"), GRID_BEST, "accuracy")
    assert (found["reproduced"], found["study"]) == (pytest.approx(90.0), "vazquez_exp3_clean")
    verdict, numbers = verdicts_by_claim("vazquez", tmp_path, "clean")["The best of the grid is "]
    assert verdict == "does not hold"
    assert "reproduced 40.00 against 60.00 (Exp. 3: lr 0.01, batch 32, 5 epochs)" in numbers


GRID_BEST = "Exp. 3: lr 0.001, batch 128, 10 epochs"


def test_claims_deny_prose_contradicting_its_log(write: Write, tmp_path: Path) -> None:
    rises = "AlexNet's test accuracy "
    assert verdicts_by_claim("higueros", tmp_path)[rises][0] == "does not hold"
    write("higueros_alexnet", [trial(0)], epochs=[epoch(0, 1, val_accuracy=0.33), epoch(0, 10, val_accuracy=0.66)])
    verdict, numbers = verdicts_by_claim("higueros", tmp_path)[rises]
    assert verdict == "does not hold"
    assert "33.00 after epoch 1 (nearer to the log), 66.00 after epoch 10 (nearer to the discussion)" in numbers


@pytest.mark.slow
def test_shapes_are_measured_on_built_networks(tmp_path: Path) -> None:
    write_shapes("vazquez", tmp_path)
    assert list(tmp_path.iterdir()) == []
    write_shapes("cesar", tmp_path / "results")
    assert [path.name for path in (tmp_path / "results").iterdir()] == [SHAPES]
    compared = reproduction.table("cesar", tmp_path / "results")
    verdicts = compared[compared["unit"] == "shape"].groupby("table", sort=False)["verdict"].agg(list)
    assert verdicts.iloc[0] == ["exact"] * 7
    assert verdicts.iloc[1] == [*["differs"] * 4, "exact", "differs", "exact"]
    verdict, numbers = verdicts_by_claim("cesar", tmp_path / "results")["The code builds the netw"]
    assert verdict == "does not hold"
    assert "24x24x6 for 28x28x6" in numbers
    assert "82 for 84" in numbers


def test_table_marks_unmeasured_numbers_not_reported(write: Write, tmp_path: Path) -> None:
    first = {"param_architecture": "lenet5_cesar", "param_output_relu": True}
    points = [first, first | {"param_output_relu": False}, {"param_architecture": "lenet5_classic"}]
    again = [trial(3 + n, 0.9 + n / 50, purpose="repeat", repeat_of=n, **point) for n, point in enumerate(points)]
    write("cesar", [*(trial(n, 0.901 + n / 50, **point) for n, point in enumerate(points)), *again])
    compared = reproduction.table("cesar", tmp_path)
    accuracies = compared[compared["unit"] == "%"]
    assert set(accuracies["verdict"]) == {"not reported"}
    assert accuracies["reproduced"].tolist() == pytest.approx([90.05, 92.05, 94.05])
    assert verdicts_by_claim("cesar", tmp_path)["A ReLU on the output cos"][0] == "holds"


def test_sources_list_progress_images_and_differences(write: Write, tmp_path: Path) -> None:
    write("vazquez_exp1", seeds(0.6, 0.6))
    folder = StudyFolder(tmp_path / "vazquez_exp1")
    images = {"name": "cifar10", "fingerprint": "da4eab673c940016fa8a39201696d20b"}
    machines = [{"processor": "EPYC", "cores": 2, "gpus": gpus} for gpus in ([], ["NVIDIA H100, 81559 MiB, 580.1"])]
    folder.write_provenance(
        {"study": "vazquez_exp1", "runs": [{"dataset": images, "hardware": machine} for machine in machines * 2]}
    )
    text = folder.storage.read("study.yaml").decode()
    folder.storage.write("study.yaml", text.replace("batch_size: 32", "batch_size: 16").encode())
    first, second, *_ = reproduction.sources("vazquez", tmp_path).to_dict("records")
    assert first == {
        "study": "vazquez_exp1",
        "runs": "1 of 1 trials complete, 1 repeat",
        "images": "CIFAR-10, re-compressed as JPEG quality 75",
        "protocol": "as published",
        "hardware": "EPYC, 2 cores; EPYC, 2 cores, NVIDIA H100",
        "differs": "training.batch_size: 32 -> 16",
    }
    assert second["runs"] == "not run"


def test_source_counts_running_trials_without_provenance(write: Write, tmp_path: Path) -> None:
    write("higueros_alexnet", [trial(0, state="RUNNING")])
    source = reproduction.source(load_study(tmp_path / "higueros_alexnet"))
    assert source["runs"] == "0 of 1 trials complete, 1 in flight"
    assert (source["images"], source["hardware"]) == ("images not on record", "hardware not on record")


def test_source_of_missing_study_is_not_run(tmp_path: Path) -> None:
    study = load_or_empty(reported.load_study_file("rubio"), tmp_path)
    assert reproduction.source(study)["runs"] == "not run"


def test_printed_has_units_of_the_studies(tmp_path: Path) -> None:
    compared = reproduction.table("higueros", tmp_path)
    printed = reproduction.printed(compared[compared["table"] == "AlexNet on CIFAR-10"], by="epoch")
    assert list(printed["epoch"]) == list(range(1, 11))
    assert printed.iloc[0].drop("epoch").to_dict() == {
        "train_accuracy": pytest.approx(0.292640),
        "train_loss": pytest.approx(1433.3836 / 782),
        "val_accuracy": pytest.approx(0.3334),
    }


def test_printed_leaves_out_lines_without_step(tmp_path: Path) -> None:
    compared = reproduction.table("tinoco", tmp_path)
    printed = reproduction.printed(compared[compared["table"] == "Log: tinoco_mnist"], by="step")
    assert list(printed["step"]) == [40 * line for line in range(1, 9)]
    assert printed["val_accuracy"].iloc[-1] == 0.780


def test_pivot_has_digits_of_the_report(write: Write, tmp_path: Path) -> None:
    write("vazquez_exp1", seeds(0.6, 0.61))
    cells = reproduction.pivot(reproduction.table("vazquez", tmp_path)).loc["Table 1"]
    assert len(cells) == 30
    assert cells.loc["Exp. 1"].to_dict() == {
        ("accuracy (%)", "reported"): "63.82",
        ("accuracy (%)", "reproduced"): "60.50",
        ("accuracy (%)", "spread"): "0.71",
        ("accuracy (%)", "difference"): "-3.32",
        ("accuracy (%)", "verdict"): "too noisy to tell",
        ("loss (nats)", "reported"): "1.13",
        ("loss (nats)", "reproduced"): "1.00",
        ("loss (nats)", "spread"): "0.00",
        ("loss (nats)", "difference"): "-0.13",
        ("loss (nats)", "verdict"): "too noisy to tell",
        ("seeds", ""): "2",
    }
    missing = cells.loc["Exp. 3: lr 0.01, batch 128, 15 epochs"]
    assert missing["accuracy (%)", "reported"] == "39.30"
    assert missing["accuracy (%)", "reproduced"] == "not run"
    assert (missing[[("accuracy (%)", "verdict"), ("seeds", "")]] == "").all()


@pytest.mark.slow
def test_screen_never_folds_or_cuts_tables(write: Write, tmp_path: Path) -> None:
    write("tinoco_fashion", seeds(0.8, 0.8), steps=steps(0.65, 0.86))
    parts = list(screen("tinoco", tmp_path, "as_published", "the command"))
    for width in (40, 80, 200):
        console = Console(file=io.StringIO(), width=width)
        with console.capture() as capture:
            for part in parts:
                if isinstance(part, Table):
                    console.width = max(console.width, full_width(part, console))
                console.print(part, soft_wrap=not isinstance(part, Table))
        lines = capture.get().splitlines()
        logged = [line for line in lines if line.startswith("epoch 1, step 40 ")]
        assert [line.split()[4:6] for line in logged] == [["1.665", "not"], ["1.665", "0.500"]]
        run = [line for line in lines if line.startswith("epoch") and "not run" not in line]
        assert [len(re.findall(r"\d\.\d{3}\b", line)) for line in run] == [12] * 13
        assert not any("…" in line for line in lines)
        assert lines[-1].endswith("the command")
