"""Rows of trials that end or fail while their study is being stopped."""

from pathlib import Path

from tests.search.test_searcher import EPOCHS, Driven, study


def test_trial_that_ends_while_stopping_is_complete(tmp_path: Path) -> None:
    driven = Driven(study(trials=2), tmp_path)
    driven.start()
    driven.start()
    ending, running = driven.live
    driven.train(running)
    for _ in range(EPOCHS - 1):
        driven.train(ending)
    driven.is_stopping = True
    assert driven.train(ending)
    driven.tables.flush()
    assert list(driven.tables.trials()["state"]) == ["COMPLETE", "RUNNING"]
    assert [proposal.number for proposal in driven.killed().run().proposals] == [1]


def test_trial_that_fails_while_stopping_is_in_flight(tmp_path: Path) -> None:
    driven = Driven(study(trials=1), tmp_path)
    driven.start()
    (trial,) = driven.live
    driven.is_stopping = True
    driven.searcher.on_trial_complete(trial.trial_id, error=True)
    driven.recorder.on_trial_error(0, [], trial)
    driven.tables.flush()
    assert list(driven.tables.history("trials")["state"]) == ["RUNNING"]
