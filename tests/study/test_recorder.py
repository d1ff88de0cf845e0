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


def test_recorder_takes_details_out_of_reports(tmp_path: Path) -> None:
    driven = Driven(study(trials=1), tmp_path)
    driven.start()
    (trial,) = driven.live
    cells = {"index": [0, 1], "label": [3, 4], "predicted": [3, 5], "probability": [0.9, 0.8]}
    steps = [{"step": 40, "train_loss": 1.0, "val_loss": 2.0, "val_accuracy": 0.5}]
    report = {"epoch": 1, "epochs_planned": 1, "val_accuracy": 0.5, "seconds": 1.0}
    classes = {"class": [0, 1], "name": ["cat", "dog"], "support": [3, 0], "precision": [0.5, None]}
    details = {"predictions": {"validation": cells}, "classes": {"validation": classes, "test": classes}}
    result = {**report, "steps": steps, **details}
    driven.recorder.on_trial_result(0, [], trial, result)  # Tune keeps this very report
    assert result == report
    driven.tables.flush()
    assert list(driven.tables.predictions()["predicted"]) == [3, 5]
    assert list(driven.tables.steps()["step"]) == [40]
    rows = driven.tables.classes()
    assert [*zip(rows["split"], rows["name"], rows["epoch"], strict=True)] == [
        (split, name, 1) for split in ("test", "validation") for name in ("cat", "dog")
    ]
    assert list(rows["support"]) == [3, 0, 3, 0]
    assert list(rows["precision"].isna()) == [False, True] * 2
