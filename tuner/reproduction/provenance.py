"""Studies, images, protocol and hardware behind the numbers of a reproduction."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from tuner.reproduction import reported
from tuner.reproduction.runs import Runs
from tuner.results.folder import StudyResults
from tuner.results.schema import IN_FLIGHT

NOT_RUN = "not run"


def sources(name: str, results: str | Path, protocol: str = "as_published") -> pd.DataFrame:
    """Return the studies behind a report's numbers, one row per study.

    They have the order of the report. Columns: `study`, `runs`, `images`, `protocol` and `hardware`
    of `source`, and `differs`, the settings that differ from the study's file. `runs` is 'not run'
    for a missing study.

    Args:
        name: One of `tuner.reproduction.reported.REPORTS`.
        results: The results directory.
        protocol: `as_published` or `clean`.

    Raises:
        UserError: There is no such report or protocol.
    """
    runs = Runs(results)
    rows = [{"study": study, **_row(study, runs.study(study))} for study in reported.studies(name, protocol)]
    return pd.DataFrame(rows)


def _row(name: str, study: StudyResults | None) -> dict[str, str]:
    if study is None:
        return {"runs": NOT_RUN, "images": "", "protocol": "", "hardware": "", "differs": ""}
    return source(study) | {
        "differs": "; ".join(study.spec.differences(reported.load_study_file(name).continuing(study.spec)))
    }


def source(study: StudyResults) -> dict[str, str]:
    """Return the origin of a study's numbers in words.

    Keys: `runs` (trials complete and in flight, and repeats), `protocol`, and `images` and
    `hardware` of every run in its provenance.
    """
    record = study.folder.provenance().get("runs", [])
    return {
        "runs": _format_runs(study),
        "images": _join_unique(reported.images(run["dataset"]) for run in record) or "images not on record",
        "protocol": study.spec.protocol.replace("_", " "),
        "hardware": _join_unique(_format_hardware(run["hardware"]) for run in record if "hardware" in run)
        or "hardware not on record",
    }


def _join_unique(texts: Iterable[str]) -> str:
    """Join the texts, each once."""
    return "; ".join(dict.fromkeys(texts))


def _format_hardware(machine: dict[str, Any]) -> str:
    """Format processor, cores and GPUs: `AMD EPYC, 2 cores`."""
    gpus = [gpu.partition(",")[0] for gpu in machine["gpus"]]
    return ", ".join([machine["processor"], f"{machine['cores']} cores", *gpus])


def _format_runs(study: StudyResults) -> str:
    """Format the number of trials that are complete and in flight."""
    if study.trials.empty:
        return NOT_RUN
    complete = study.trials[study.trials["state"] == "COMPLETE"]
    repeats = int((complete["purpose"] == "repeat").sum())
    running = int(study.trials["state"].isin(IN_FLIGHT).sum())
    return ", ".join(
        [
            f"{len(complete) - repeats} of {study.spec.search.trials} trials complete",
            *([f"{repeats} repeat{'s' if repeats > 1 else ''}"] if repeats else []),
            *([f"{running} in flight"] if running else []),
        ]
    )
