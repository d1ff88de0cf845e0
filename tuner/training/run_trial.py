"""One attempt at a trial: it trains, reports, keeps checkpoints and goes on from them. It knows no Ray."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch

from tuner.config.space import Value
from tuner.config.study import StudyConfig
from tuner.data.device import ImageSubset, device_data
from tuner.errors import TrialError
from tuner.results.folder import StudyFolder
from tuner.training.checkpoint import Checkpointer, identity, write_state
from tuner.training.loop import Trainer
from tuner.training.watchdog import watched


@watched
def run_trial(
    spec: StudyConfig,
    folder: str,
    dataset: Path,
    number: int,
    parameters: Mapping[str, Value],
    seed: int,
    device: str = "cpu",
) -> Iterator[dict[str, Any]]:
    """Train a trial from its checkpoint, if it has one, or from the start; yields a report an epoch.

    A report has the fields of `EpochResult` (`train_seconds` summed over the epochs), `epochs_planned`,
    `parameters_count` and `device`; the last one also `test_loss`, `test_accuracy` and `done`. Where the study asks for
    it, the first has `untrained` (loss and accuracy before the training) and the last `predictions`, a dict for each
    kind of images. Reports that stand in the checkpoint already come first, marked `replayed`.

    Args:
        spec: The study.
        folder: Its folder.
        dataset: The data set as the cache holds it.
        number: The trial's number.
        parameters: The trial's parameters.
        seed: The seed of its training.
        device: Where to train: cpu | cuda.

    Raises:
        TrialError: The trial cannot be trained, and trying again would not help.
        UserError: Data or recipe do not allow it.
    """
    torch.set_num_threads(spec.resources.cpu)
    recipe = spec.training_config(parameters)
    if device == "cuda" and not torch.cuda.is_available():
        raise TrialError("Ray gave the trial a GPU, but torch sees none; is this torch built for its driver?")
    training = Trainer(
        recipe,
        device_data(dataset, spec.dataset, device),
        seed=seed,
        log_every=spec.log_every,
        on_step=lambda: keeper.save_if_due(),
    )
    constant = {
        "epochs_planned": recipe.epochs,
        "parameters_count": training.parameters_count,
        "device": training.device_description,
    }
    before = training.evaluate(training.data.validation) if spec.untrained else None
    study = StudyFolder(folder)
    keeper = Checkpointer(study, number, identity(spec, dataset, parameters, seed), training)
    for report in keeper.resume():
        yield {**report, "replayed": True}
    for result in training:
        report = {**asdict(result), **constant}
        report["train_seconds"] += keeper.train_seconds
        if before and result.epoch == 1:
            report["untrained"] = dict(zip(("val_loss", "val_accuracy"), before, strict=True))
        keeper.reports.append(report)
        if result.epoch < recipe.epochs:
            keeper.save_if_due()
            yield report
    test_loss, test_accuracy = training.evaluate(training.data.test)
    if spec.keep_weights:
        write_state(study.storage, study.weights(number), training.model.state_dict())
    last = {"test_loss": test_loss, "test_accuracy": test_accuracy, "done": True}
    yield {
        **keeper.reports[-1],
        **last,
        "predictions": {kind: _predictions(training, kind) for kind in spec.predictions},
    }


def _predictions(training: Trainer, kind: Literal["validation", "test"]) -> dict[str, list[Any]]:
    """Columns of the table `predictions`: true and predicted label of each image, and the probability of the latter."""
    images: ImageSubset = getattr(training.data, kind)
    probability, predicted = training.predict(images).max(dim=1)
    return {
        "index": list(range(len(images))),
        "label": images.labels.tolist(),
        "predicted": predicted.tolist(),
        "probability": probability.tolist(),
    }
