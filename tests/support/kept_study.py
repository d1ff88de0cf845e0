"""A study of one trial that was trained without Ray, with its weights, rows and predictions."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tuner.config.study import parse_spec
from tuner.data import load
from tuner.data.device import DeviceDataset
from tuner.results.folder import StudyFolder, StudyResults, load_study
from tuner.results.identity import identify
from tuner.results.tables import now
from tuner.training.run_trial import run_trial

DATASET = {"name": "digits", "train": 200, "validation": 40, "pixels": "standard"}
TRAINING = {"architecture": "vazquez_bn", "filters": 4, "dense": 16, "epochs": 2, "batch_size": 20}
NUMBER, SEED = 4, 1


def train_study(folder: Path, **sections: Any) -> StudyResults:
    """Train a trial on digits as a worker does, and record it as the recorder does."""
    raw = {"study": folder.name, "dataset": DATASET, "training": TRAINING, "predictions": ["test"], "space": {}}
    spec = parse_spec(raw | sections)
    dataset = load(spec.dataset)
    kept = StudyFolder(folder)
    kept.write_spec(spec)
    kept.write_identity(identify(spec, dataset.fingerprint))
    last = list(run_trial(spec, str(folder), dataset.folder, NUMBER, {}, SEED))[-1]
    tables = kept.tables(spec)
    own = {"study": spec.study, "number": NUMBER, "attempt": 1}
    for split, columns in last["predictions"].items():
        for cells in zip(*columns.values(), strict=True):
            tables.append("predictions", {**own, "split": split, **dict(zip(columns, cells, strict=True))})
    measured = {name: last[name] for name in ("val_accuracy", "val_loss", "test_accuracy", "test_loss", "device")}
    row = {**own, **measured, "state": "COMPLETE", "purpose": "search", "updated_at": now(), "seed": SEED}
    tables.append("trials", row | {"value": last["val_accuracy"], "values": [last["val_accuracy"]]})
    tables.flush()
    return load_study(folder)


def write_test_images(study: StudyResults, folder: Path) -> list[Path]:
    """Write the gray test images of a study's data set as PNG files, in their order."""
    folder.mkdir()
    images = DeviceDataset.open(load(study.spec.dataset), study.spec.dataset).test.images.numpy()
    files = [folder / f"{index:04}.png" for index in range(len(images))]
    for file, pixels in zip(files, images, strict=True):
        Image.fromarray(np.ascontiguousarray(pixels[0])).save(file)
    return files
