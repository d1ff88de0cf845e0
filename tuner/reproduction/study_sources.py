"""Where the numbers of a reproduction come from: which studies, how far they are, which images, which protocol."""

from pathlib import Path

import pandas as pd

from tuner import reported
from tuner.folder import StudyResults
from tuner.reproduction.runs import Runs


def sources(name: str, results: str | Path, protocol: str = "as_published") -> pd.DataFrame:
    """The studies that a report's numbers come from, one row each, in the order of the report.

    Columns: `study`, `runs` (completed trials and repeats, or 'not run'), `images` (what the provenance says),
    `protocol` (as the study has it) and `differs` (settings in which it was run otherwise than its file says).

    Args:
        name: One of `tuner.reported.REPORTS`.
        results: The results directory.
        protocol: `as_published` or `clean`.

    Raises:
        UserError: There is no such report or protocol.
    """
    runs = Runs(results)
    rows = [{"study": study, **_source(study, runs.study(study))} for study in reported.studies(name, protocol)]
    return pd.DataFrame(rows)


def _source(name: str, study: StudyResults | None) -> dict[str, str]:
    if study is None:
        return {"runs": "not run", "images": "", "protocol": "", "differs": ""}
    seen = {reported.images(run["dataset"]): None for run in study.folder.provenance().get("runs", [])}
    return {
        "runs": _runs(study),
        "images": "; ".join(seen) or "images not on record",
        "protocol": study.spec.protocol.replace("_", " "),
        "differs": "; ".join(study.spec.differences(reported.load_study_file(name))),
    }


def _runs(study: StudyResults) -> str:
    complete = study.trials[study.trials["state"] == "COMPLETE"]
    repeats = int((complete["purpose"] == "repeat").sum())
    again = f", {repeats} repeat{'s' if repeats > 1 else ''}" if repeats else ""
    return f"{len(complete) - repeats} of {study.spec.search.trials} trials complete{again}"
