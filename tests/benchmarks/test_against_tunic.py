"""The comparison with tunic: what both sides are given."""

import argparse
from pathlib import Path

import pytest

from benchmarks import against_tunic
from benchmarks.against_tunic import study_of, write_digits
from tuner.config.study import parse_spec
from tuner.data import load, split


def test_both_sides_see_the_same_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    few = {"train": 120, "val": 60, "test": 60}
    monkeypatch.setattr(against_tunic, "PARTS", few)
    write_digits(tmp_path / "digits", side=8)
    options = argparse.Namespace(side=8, model="resnet10t", epochs=10, trials=6, batch_size=32)
    study = study_of(tmp_path / "digits", 1, options)
    study["training"] |= {"architecture": "vazquez_base"}  # because timm takes seconds to import
    spec = parse_spec(study)
    dataset = load(spec.dataset)
    parts = split(dataset, spec.dataset)
    assert (len(parts.train), len(parts.validation), len(dataset.test_labels)) == tuple(few.values())
    for part, count in few.items():
        assert len(list((tmp_path / "digits" / part).rglob("*.png"))) == count
    recipe = spec.training_config({"learning_rate": 0.1})
    assert (recipe.warm_up, recipe.epochs, spec.stopping.rule) == (0.5, 10, None)
