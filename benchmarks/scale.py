"""What many trials cost their driver: studies of trials that cost nothing, over three Ray nodes of four slots each.

All nodes are on this machine, so driver and workers share its cores: processor time says more than seconds. Each study
has a process of its own for a driver.

    python benchmarks/scale.py [--nodes 3] [--slots 4] [TRIALSxEPOCHS:SAMPLER:STOPPING[:validation] …]
"""

import argparse
import asyncio
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import ray
from ray.cluster_utils import Cluster

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.trainables import FreeTrial  # noqa: E402
from tuner.cluster import connection  # noqa: E402
from tuner.config.study import parse_spec  # noqa: E402
from tuner.results import folder  # noqa: E402
from tuner.results.tables import Tables  # noqa: E402
from tuner.study.observer import NullObserver, Row  # noqa: E402
from tuner.study.run import StudyRun  # noqa: E402

STUDIES = (
    "1000x1:random:none",
    "3000x1:random:none",
    "1000x1:tpe:none",
    "3000x1:tpe:none",
    "1000x27:random:asha",
    "200x100:random:none",
    "1000x1:random:none:validation",
)


class StampedTrial(FreeTrial):
    """Costs nothing, and says as its learning rate when it reported."""

    def step(self) -> dict[str, Any]:
        """Report the next epoch, with the predictions of 1,000 images if the study asks for them."""
        columns = ("index", "label", "predicted", "probability")
        cells = {name: (np.arange(1000) / (1000 if name == "probability" else 1)).tolist() for name in columns}
        predictions = dict.fromkeys(self._context.spec.predictions, cells)
        return {**super().step(), "learning_rate": time.time(), "predictions": predictions}


class TimedTables(Tables):
    """Tables that note how many rows of `epochs` each writing found waiting, and how long each row had waited."""

    rows: ClassVar[list[int]] = []
    seconds: ClassVar[list[float]] = []

    def flush(self, if_older_than: float = 0.0) -> None:
        """Write what waits."""
        waiting = self._pending["epochs"].copy()
        super().flush(if_older_than)
        if waiting and not self._pending["epochs"]:
            written = time.time()
            self.rows.append(len(waiting))
            self.seconds += [written - row["at"].timestamp() for row in waiting]


class Meter(NullObserver):
    """Reads the driver's clocks after each trial, and its memory as training begins, after a fifth and at the end."""

    def __init__(self, trials: int) -> None:
        self._trials = trials
        self.begun: dict[str, float] = {}
        self.ended: list[dict[str, float]] = []

    def attempt_started(self, row: Row) -> None:  # noqa: ARG002
        """The first worker is up."""
        self.begun = self.begun or clocks() | memory()

    def trial_ended(self, row: Row) -> None:  # noqa: ARG002
        """One more is done."""
        is_read = len(self.ended) + 1 in (self._trials // 5, self._trials)
        self.ended.append(clocks() | (memory() if is_read else {}))


def clocks() -> dict[str, float]:
    """Seconds by the clock, and of processor time of this process."""
    return {"wall": time.time(), "cpu": time.process_time()}


def memory() -> dict[str, float]:
    """MB of this process (rss), and of those its part of what it shares with others (pss)."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return {"rss": kilobytes["Rss"] / 1000, "pss": kilobytes["Pss"] / 1000}


def drive(study: str, address: str, results: str) -> None:
    """Run one study, and say what it cost its driver."""
    size, sampler, stopping, *predictions = study.split(":")
    trials, epochs = map(int, size.split("x"))
    spec = parse_spec({
        "study": "free",
        "training": {"architecture": "vazquez_base", "epochs": epochs},
        "space": {
            "learning_rate": {"float": [1e-4, 1e-1], "log": True},
            "weight_decay": {"float": [1e-6, 1e-1], "log": True},
            "batch_size": {"choice": [32, 64, 128]},
        },
        "search": {"sampler": sampler, "trials": trials},
        "stopping": stopping if stopping == "none" else {stopping: {"grace_period": 1, "reduction_factor": 3}},
        "resources": {"cpu": 1},
        "predictions": predictions,
    })  # fmt: skip
    folder.Tables = TimedTables  # type: ignore[misc]
    meter = Meter(trials)
    done = StudyRun(spec, results, observer=meter, address=address, trainable=StampedTrial).run()
    report(study, meter, done.epochs, len(list((Path(results) / "free" / "starts").iterdir())))


def report(study: str, meter: Meter, epochs: Any, starts: int) -> None:
    """Print what was measured: of trials, of reports, of rows."""
    first, last = meter.begun, meter.ended[-1]
    trials, fifth = len(meter.ended), len(meter.ended) // 5
    spent = {name: last[name] - first[name] for name in clocks()}
    print(
        f"{study}: {trials} trials, {1000 * spent['wall'] / trials:.1f} ms a trial "
        f"({1000 * spent['cpu'] / trials:.1f} of the driver's processor), {starts} worker starts"
    )
    for name, since, until in ("first", 0, fifth), ("last", trials - fifth - 1, trials - 1):
        a, b = meter.ended[since], meter.ended[until]
        each = {name: 1000 * (b[name] - a[name]) / fifth for name in ("wall", "cpu")}
        print(f"  {name} fifth: {each['wall']:.1f} ms a trial ({each['cpu']:.1f} processor)")
    for name in "rss", "pss":
        since = meter.ended[fifth - 1][name]  # because libraries are loaded until then
        grown = 1000 * (last[name] - since) / (trials - fifth)
        print(f"  {name}: {first[name]:.0f} MB, {since:.0f} after a fifth, {last[name]:.0f}: {grown:.1f} kB a trial")
    rate = len(epochs) / spent["wall"]
    took = epochs["at"].map(lambda at: at.timestamp()) - epochs["learning_rate"]
    print(
        f"  {len(epochs)} reports: {rate:.0f} a second, {60 * rate:.0f} a minute, "
        f"{1000 * spent['cpu'] / len(epochs):.2f} ms of processor each; {said(took)} until the driver had them"
    )
    print(f"  rows waited {said(TimedTables.seconds)} for the disk, at most {max(TimedTables.rows)} at a time")


def said(seconds: Any) -> str:
    """Median, 99 % and most of many durations."""
    median, most, longest = np.quantile(np.asarray(seconds), [0.5, 0.99, 1.0])
    return f"{median:.3f} s (99 %: {most:.3f}, at most {longest:.3f})"


@ray.remote(num_cpus=0, max_concurrency=2000)
class Waiting:
    """Stands for many trials in flight: its calls do not come back."""

    async def report(self) -> None:
        """Wait for longer than anybody looks."""
        await asyncio.sleep(3600)


def look_among_many(address: str) -> None:
    """Print what it takes to find the one report that is there among trials in flight, as Tune does for each."""
    connection.start(address)
    there = ray.put(None)
    for trials in 12, 100, 1000:
        waiting = Waiting.remote()  # type: ignore[attr-defined]
        futures = [there, *(waiting.report.remote() for _ in range(trials - 1))]
        began = clocks()
        for _ in range(300):
            random.shuffle(futures)
            ray.wait(futures, num_returns=1)
        spent = {name: (end - began[name]) / 0.3 for name, end in clocks().items()}
        print(f"one report among {trials} trials: {spent['wall']:.2f} ms ({spent['cpu']:.2f} of processor) to find it")
        ray.kill(waiting)


def main() -> None:
    """Make the cluster, and run study after study on it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="*", default=STUDIES, metavar="TRIALSxEPOCHS:SAMPLER:STOPPING[:validation]")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--drive", help=argparse.SUPPRESS)
    parser.add_argument("--look", help=argparse.SUPPRESS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="s-", dir="/tmp") as scratch:
        if options.drive:
            return drive(options.studies[0], options.drive, scratch)
        if options.look:
            return look_among_many(options.look)
        nodes = Cluster()
        settings = {"include_dashboard": False, "_system_config": connection.SYSTEM_CONFIG}
        try:
            for _ in range(options.nodes):
                nodes.add_node(num_cpus=options.slots, temp_dir=f"{scratch}/ray", **settings)
                settings = {}
            for study in options.studies:
                subprocess.run([sys.executable, __file__, study, "--drive", nodes.address], check=True, cwd=ROOT)
            subprocess.run([sys.executable, __file__, "--look", nodes.address], check=True, cwd=ROOT)
        finally:
            nodes.shutdown()


if __name__ == "__main__":
    main()
