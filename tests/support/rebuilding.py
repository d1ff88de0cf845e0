"""A study's tables tell all that its search knows."""

from tuner.results.folder import StudyResults
from tuner.search.optuna_study import rebuild_study
from tuner.search.schedulers import make_scheduler
from tuner.study.run import StudyRun


def assert_rebuilt(live: StudyRun, results: StudyResults) -> None:
    """Assert that Optuna's trials and the rungs are the same when they are rebuilt from the tables."""
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
