"""Where the numbers of a reproduction come from: which studies, how far they are, images, protocol and hardware."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from tuner.reproduction import reported
from tuner.reproduction.runs import Runs
from tuner.results.folder import StudyResults

NOT_RUN = "not run"


def sources(name: str, results: str | Path, protocol: str = "as_published") -> pd.DataFrame:
    """The studies that a report's numbers come from, one row each, in the order of the report.

    Columns: `study`; `runs`, `images`, `protocol` and `hardware`, as `source` says them ('not run' where there is no
    study); `differs` (settings in which it was run otherwise than its file says).

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
    return source(study) | {"differs": "; ".join(study.spec.differences(reported.load_study_file(name)))}


def source(study: StudyResults) -> dict[str, str]:
    """Where a study's numbers come from, in words.

    Keys: `runs` (trials complete and in flight, and repeats), `protocol` (as the study has it), `images` and `hardware`
    (as its provenance says, of every run of it).
    """
    record = study.folder.provenance().get("runs", [])
    return {
        "runs": _runs(study),
        "images": _each(reported.images(run["dataset"]) for run in record) or "images not on record",
        "protocol": study.spec.protocol.replace("_", " "),
        "hardware": _each(_hardware(run["hardware"]) for run in record if "hardware" in run)
        or "hardware not on record",
    }


def _each(texts: Iterable[str]) -> str:
    """Every text once."""
    return "; ".join(dict.fromkeys(texts))


def _hardware(machine: dict[str, Any]) -> str:
    """A machine as people name it: `AMD EPYC, 2 cores`, then its GPUs without memory and driver."""
    gpus = [gpu.partition(",")[0] for gpu in machine["gpus"]]
    return ", ".join([machine["processor"], f"{machine['cores']} cores", *gpus])


def _runs(study: StudyResults) -> str:
    if study.trials.empty:
        return NOT_RUN
    complete = study.trials[study.trials["state"] == "COMPLETE"]
    repeats = int((complete["purpose"] == "repeat").sum())
    running = int((study.trials["state"] == "RUNNING").sum())
    return ", ".join(
        [
            f"{len(complete) - repeats} of {study.spec.search.trials} trials complete",
            *([f"{repeats} repeat{'s' if repeats > 1 else ''}"] if repeats else []),
            *([f"{running} in flight"] if running else []),
        ]
    )
