"""Comparison of a study's search with the one that its tables rebuild."""

from tuner.results.folder import StudyResults
from tuner.search.optuna_study import rebuild_study
from tuner.search.schedulers import make_scheduler
from tuner.study.run import StudyRun


def assert_rebuilt(live: StudyRun, results: StudyResults) -> None:
    """Assert that the tables rebuild Optuna's trials and the rungs."""
    rebuilt = rebuild_study(results.spec, results.trials, results.epochs)
    for told, again in zip(live.searcher.study.trials, rebuilt.trials, strict=True):
        assert (told.state, told.params, told.value, told.distributions) == (
            again.state,
            again.params,
            again.value,
            again.distributions,
        )
        assert told.intermediate_values == again.intermediate_values
    scheduler = make_scheduler(results.spec, lambda _: None)
    for number, epochs in results.epochs.groupby("number"):
        scheduler.replay(int(str(number)), dict(zip(epochs["epoch"], epochs["val_accuracy"], strict=True)))
    assert scheduler.rungs == live.scheduler.rungs
    verdicts = results.decisions.groupby(["number", "rung", "verdict"]).size()
    assert (verdicts == 1).all()
