"""`rerun`: a trial trained again, and compared number by number."""

from functools import partial

import typer

from tuner.cli.explain import Number
from tuner.cli.options import Data, Results, StudyName
from tuner.cli.show import read_study
from tuner.cli.tables import DEFAULT_RESULTS, out


def rerun(study: StudyName, trial: Number, results: Results = DEFAULT_RESULTS, data: Data = None) -> None:
    """Train a trial again, and compare its numbers.

    Numbers are compared to the last bit. Nothing is written.
    """
    from tuner.study.rerun import rerun as train_again  # late, because torch takes seconds

    say = partial(out.print, markup=False, highlight=False, soft_wrap=True)
    loaded = read_study(study, results)
    found = train_again(loaded, trial, data, say)
    if found.failure:
        say(f"This training failed: {found.failure}")
        say(f"In the study it was {loaded.trial(trial)['state']}")
    if found.is_same:
        say(f"The same to the last bit: {found.numbers} numbers of {found.epochs} epochs")
        return
    reasons = "; ".join(found.reasons) or "code, device and versions are the same"
    say(f"Not the same: {len(found.differences)} of {found.numbers} numbers differ ({reasons})")
    raise typer.Exit(1)
