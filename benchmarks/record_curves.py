"""Make a recording for `search_quality.py` of a finished study that stopped no trial.

    python benchmarks/record_curves.py results/STUDY DIR/NAME.parquet

The study has `stopping: none` and draws by `random` or `qmc` from choices, so that its trials stand
on a grid. The recording has one row per configuration, seed and epoch.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import tuner  # noqa: E402
from benchmarks.quality.tasks import RECORDED  # noqa: E402
from tuner.results.folder import StudyResults  # noqa: E402


def recording(study: StudyResults) -> pd.DataFrame:
    """Return the learning curves of all completed trials, and the parameters of each.

    Trials with the same parameters are one configuration, trained with several seeds.
    """
    columns = {name: name.removeprefix("param_") for name in study.trials if name.startswith("param_")}
    parameters = [*columns.values()]
    trials = study.trials[study.trials["state"] == "COMPLETE"].rename(columns=columns)
    same = trials.groupby(parameters, dropna=False, sort=False)
    trials = trials.assign(config=same.ngroup(), seed=same.cumcount())
    epochs = study.epochs[study.epochs["epoch"] > 0].rename(columns={"seconds": "cpu_seconds"})
    measured = [name for name in epochs if name in RECORDED]
    keys = trials.set_index("number")[["config", "seed", *parameters]]
    return epochs[["number", *measured]].join(keys, on="number", how="inner").drop(columns="number")


def main() -> None:
    """Read the command line and write the recording."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", help="folder of the study")
    parser.add_argument("recording", type=Path, help="file to write")
    given = parser.parse_args()
    table = recording(tuner.load_study(given.study))
    table.to_parquet(given.recording, index=False)
    print(f"{given.recording}: {table['config'].nunique()} configurations, {len(table)} epochs")


if __name__ == "__main__":
    main()
