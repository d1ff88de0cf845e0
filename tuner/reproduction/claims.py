"""The claims of the five reports, each checked against what was measured here."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import isnan
from pathlib import Path
from statistics import fmean

import pandas as pd

from tuner.data.formats.torchvision import CLASSES
from tuner.reproduction import verdicts
from tuner.reproduction.compare import table
from tuner.reproduction.evidence import (
    NOT_RUN,
    Claim,
    Evidence,
    Number,
    compare_best,
    compare_means,
    compare_pairs,
    decided,
    format_number,
    highest,
    missing_verdict,
)
from tuner.reproduction.runs import Runs, choice

VEHICLES = ("airplane", "automobile", "ship", "truck")
LARGE, SMALL = "large, its code: a batch norm for two convolutions", "small"
"""The networks of report 004 as its code builds them."""


def claims(name: str, results: str | Path, protocol: str = "as_published") -> pd.DataFrame:
    """Check the conclusions of a report, one row per claim.

    Columns: `report`, `claim`, `verdict` and `numbers`. `verdict` is 'holds', 'does not hold', or
    'cannot be told' with the reason. Reasons: a study was not run, training failed, the numbers
    are closer than the spread, or each has a single run. `tuner.reproduction.evidence` has the
    rules.

    Args:
        name: One of `tuner.reproduction.reported.REPORTS`.
        results: The results directory with the report's studies.
        protocol: `as_published` or `clean`.

    Raises:
        UserError: There is no such report or protocol.
    """
    evidence = Evidence(table(name, results, protocol), Runs(results), protocol)
    checked = [check(evidence)._asdict() for check in _CHECKS[name]]
    return pd.DataFrame([{"report": name, **claim} for claim in checked])


def _architecture_gains_more(evidence: Evidence) -> Claim:
    rows, grid = evidence.numbers("accuracy"), _grid(evidence)
    networks = [rows["Exp. 2"], rows["Exp. 4"]]
    base, network, tuned = rows["Exp. 1"], highest(networks), highest(grid)
    by_network, by_tuning = network.measured - base.measured, tuned.measured - base.measured
    reported = max(number.reported for number in grid) - base.reported
    return Claim(
        "Changing the architecture gains more than changing the hyperparameters.",
        compare_best(networks, grid, table=list(rows.values())),
        f"points above Exp. 1: best architecture, reported {rows['Exp. 4'].reported - base.reported:+.2f}, reproduced "
        f"{format_number(by_network, sign='+')}; best of the grid, reported {reported:+.2f}, "
        f"reproduced {format_number(by_tuning, sign='+')}",
    )


def _experiment_4_is_best(evidence: Evidence) -> Claim:
    rows = evidence.numbers("accuracy")
    best, rivals = rows["Exp. 4"], [number for row, number in rows.items() if row != "Exp. 4"]
    return Claim("Experiment 4 is the best of the four.", *_check_best(best, rivals, list(rows.values())))


def _best_of_the_grid(evidence: Evidence) -> Claim:
    grid = _grid(evidence)
    if evidence.protocol == "clean":
        grid = [replace(number, measured=evidence.measured(number, "val_accuracy")) for number in grid]
    (best,) = (number for number in grid if number.row.endswith("lr 0.001, batch 128, 10 epochs"))
    rivals = [number for number in grid if number is not best]
    verdict, numbers = _check_best(best, rivals, list(evidence.numbers("accuracy").values()))
    images = "validation" if evidence.protocol == "clean" else "test"
    return Claim(
        "The best of the grid is learning rate 0.001, batch 128, 10 epochs.",
        verdict,
        f"by the {images} images: {numbers}",
    )


def _check_best(best: Number, rivals: list[Number], table: list[Number]) -> tuple[str, str]:
    """Return the verdict on a number called best, and its rival."""
    rival, failed = highest(rivals), sum(number.failed for number in rivals)
    reported = max(rivals, key=lambda number: number.reported)
    against = "" if isnan(rival.measured) else f" against {rival.measured:.2f} ({rival.row})"
    left_out = f"; {failed} of {len(rivals)} rivals failed to train" if failed else ""
    return (
        compare_best([best], rivals, table),
        f"reported {best.reported:.2f} against {reported.reported:.2f} ({reported.row}), "
        f"reproduced {format_number(best.measured)}{against}{left_out}",
    )


def _learning_rate_is_too_high(evidence: Evidence) -> Claim:
    grid, table = _grid(evidence), list(evidence.numbers("accuracy").values())
    rates = {
        rate: [number for number in grid if choice(number.line["trial"])["learning_rate"] == rate]
        for rate in (1e-2, 1e-3, 1e-4)
    }
    cells = list(zip(*rates.values(), strict=True))
    reported = sum(high.reported < min(mid.reported, low.reported) for high, mid, low in cells)
    measured = sum(high.measured < min(mid.measured, low.measured) for high, mid, low in cells)
    lowest, most = (pick(number.measured for number in rates[1e-2]) for pick in (min, max))
    reproduced = "not measured" if missing_verdict(grid) else f"in {measured} ({lowest:.2f} to {most:.2f})"
    return Claim(
        "A learning rate of 0.01 is too high: at each batch size and number of epochs it is the worst of the three.",
        compare_pairs([(other, cell[0]) for cell in cells for other in cell[1:]], table),
        f"the worst in {reported} of {len(cells)} as reported ({min(n.reported for n in rates[1e-2]):.2f} to "
        f"{max(n.reported for n in rates[1e-2]):.2f} %), reproduced {reproduced}",
    )


def _grid(evidence: Evidence) -> list[Number]:
    """Return the 27 accuracies of experiment 3 in report 001."""
    return [number for row, number in evidence.numbers("accuracy").items() if row.startswith("Exp. 3")]


def _lenet_passes_98(evidence: Evidence) -> Claim:
    rows = evidence.numbers("test accuracy", "LeNet-5")
    last = rows["epoch 10"]
    return Claim(
        "LeNet-5 passes 98 % on MNIST's test images.",
        compare_means(last.measured - 0.98, last, table=list(rows.values())),
        f"after epoch 10: reported {last.reported:.4f}, reproduced {format_number(last.measured, 4)}",
    )


def _discussion_quotes_the_log(evidence: Evidence) -> Claim:
    prose = evidence.numbers("test accuracy", "AlexNet as")
    log = {row: evidence.numbers("test accuracy", "AlexNet on")[row] for row in prose}
    same = all(prose[row].reported == log[row].reported for row in prose)
    fits = [
        f"{format_number(log[row].measured)} after {row}"
        + (" (nearer to the log)" if _distance(log[row]) < _distance(prose[row]) else " (nearer to the discussion)")
        for row in prose
        if not isnan(log[row].measured)
    ]
    return Claim(
        "AlexNet's test accuracy rises from 35.72 to 65.79 %, as the discussion says.",
        decided(same),
        f"the report's own log has {' and '.join(f'{n.reported:.2f}' for n in log.values())}; "
        f"reproduced {', '.join(fits) or 'not measured'}",
    )


def _distance(number: Number) -> float:
    """Return the distance between the measured and the reported number."""
    return abs(number.measured - number.reported)


def _large_always_wins(evidence: Evidence) -> Claim:
    rows = evidence.numbers("accuracy", "Table 2")
    large, small = rows[LARGE], rows[SMALL]
    runs = [evidence.runs.values(number.line) for number in (large, small)]
    missing = missing_verdict([large, small])
    ahead = (evidence.by_epoch(large) - evidence.by_epoch(small)).dropna() > 0
    found = f"{large.measured:.2f} against {small.measured:.2f}; ahead after {ahead.sum()} of {len(ahead)} epochs"
    return Claim(
        "The large network always beats the small one.",
        missing or decided(bool(runs[0].min() > runs[1].max())),
        f"after epoch 20: reported {large.reported:.2f} against {small.reported:.2f}, "
        f"reproduced {'not measured' if missing else found}",
    )


def _cars_and_trucks_are_easiest(evidence: Evidence) -> Claim:
    best = {network: recall.nlargest(3) for network, recall in _recalls(evidence).items()}
    return Claim(
        "Cars and trucks are recognized best.",
        _decide_for_all(best, lambda recall: {*recall.index[:2]} == {"automobile", "truck"}),
        f"highest recalls: {_format_recalls(best)}",
    )


def _animals_are_hardest(evidence: Evidence) -> Claim:
    worst = {network: recall.nsmallest(3) for network, recall in _recalls(evidence).items()}
    return Claim(
        "Animals are recognized worst.",
        _decide_for_all(worst, lambda recall: not {*recall.index} & {*VEHICLES}),
        f"lowest recalls: {_format_recalls(worst)}",
    )


def _recalls(evidence: Evidence) -> "dict[str, pd.Series[float]]":
    """Return recall by class name, for both networks of report 004."""
    rows = evidence.numbers("accuracy", "Table 2")
    recalls = {"large": evidence.recalls(rows[LARGE]), "small": evidence.recalls(rows[SMALL])}
    return {network: recall.rename(dict(enumerate(CLASSES["cifar10"]))) for network, recall in recalls.items()}


def _decide_for_all(recalls: "Mapping[str, pd.Series[float]]", holds: "Callable[[pd.Series[float]], bool]") -> str:
    """Return the verdict on a claim that every network's recalls must satisfy."""
    known = all(len(recall) for recall in recalls.values())
    return decided(all(holds(recall) for recall in recalls.values())) if known else NOT_RUN


def _format_recalls(recalls: "Mapping[str, pd.Series[float]]") -> str:
    """Format the recalls of each network for a sentence."""
    texts = {
        name: ", ".join(f"{label} {share:.2f}" for label, share in recall.items()) for name, recall in recalls.items()
    }
    return "; ".join(f"{name} network {text or 'not run'}" for name, text in texts.items())


def _at_most_71(evidence: Evidence) -> Claim:
    rows = evidence.numbers("accuracy", "Table 2")
    peak = max(evidence.by_epoch(rows[LARGE]).max(), evidence.by_epoch(rows[SMALL]).max())
    missing = missing_verdict([rows[LARGE], rows[SMALL]])
    return Claim(
        "Validation accuracy reaches about 0.71 at most.",
        missing or decided(peak < 0.72),
        f"highest after any epoch: {'not measured' if missing else f'{peak:.3f}'} (it holds below 0.72); "
        f"the report's own Table 2 has {rows[LARGE].reported:.2f} %",
    )


def _ninety_with_all_images(_: Evidence) -> Claim:
    return Claim("With all training images the accuracy is about 90 %.", NOT_RUN, "no study here trains on all of them")


def _images_are_mnist(evidence: Evidence) -> Claim:
    logs = {
        images: list(evidence.numbers("test accuracy", f"Log: {study}").values())
        for images, study in (("MNIST", "tinoco_mnist"), ("Fashion-MNIST", "tinoco_fashion"))
    }
    away = {images: 100 * fmean(map(_distance, log)) for images, log in logs.items()}
    fits = [f"{images} {format_number(away[images], 1)} ({_count_verdicts(log)})" for images, log in logs.items()]
    return Claim(
        "The images are MNIST's digits.",
        missing_verdict([number for log in logs.values() for number in log])
        or decided(away["MNIST"] < away["Fashion-MNIST"]),
        f"mean distance to the logged test accuracies, in points: {', '.join(fits)}",
    )


def _count_verdicts(log: list[Number]) -> str:
    """Format the counts of the verdicts on the lines of a log."""
    found = Counter(number.verdict for number in log)
    return ", ".join(f"{found[word]} {word}" for word in verdicts.RULES if found[word])


def _code_builds_the_slides(evidence: Evidence) -> Claim:
    built = evidence.compared[evidence.compared["table"].str.contains("built as the code says")]
    other = built[built["verdict"] == verdicts.DIFFERS]
    known = not (built["verdict"] == verdicts.NOT_RUN).any()
    differing = ", ".join(other["reproduced"].astype(str) + " for " + other["reported"].astype(str))
    return Claim(
        "The code builds the network that the slides describe.",
        decided(other.empty) if known else NOT_RUN,
        f"other shapes in {len(other)} of {len(built)} layers: {differing}" if known else "shapes: not run",
    )


def _output_relu_costs(evidence: Evidence) -> Claim:
    rows = evidence.numbers("test accuracy")
    without, having = rows["code, no ReLU on the output"], rows["code, ReLU on the output"]
    return Claim(
        "A ReLU on the output costs accuracy (the report has one and measures nothing).",
        compare_means(without.measured - having.measured, without, having, table=list(rows.values())),
        f"test accuracy without it {format_number(without.measured, unit=' %')}, "
        f"with it {format_number(having.measured, unit=' %')}",
    )


_CHECKS: Mapping[str, tuple[Callable[[Evidence], Claim], ...]] = {
    "vazquez": (_architecture_gains_more, _experiment_4_is_best, _best_of_the_grid, _learning_rate_is_too_high),
    "higueros": (_lenet_passes_98, _discussion_quotes_the_log),
    "rubio": (
        *(_large_always_wins, _cars_and_trucks_are_easiest, _animals_are_hardest),
        *(_at_most_71, _ninety_with_all_images),
    ),
    "tinoco": (_images_are_mnist,),
    "cesar": (_code_builds_the_slides, _output_relu_costs),
}
