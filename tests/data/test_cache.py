import pickle
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.image_files import noise, write_folder, write_parquet, write_png
from tests.support.waiting import PATIENCE
from tuner.config.dataset import DatasetConfig
from tuner.data import Dataset, load
from tuner.data.cache import ensure_cached
from tuner.errors import DataError

LOADS = (
    "import sys; from pathlib import Path; from tuner.data import load\n"
    "from tuner.config.dataset import DatasetConfig\n"
    "data = load(DatasetConfig(name=sys.argv[1]), None, Path(sys.argv[2]))\n"
    "print(data.folder, int(data.train_images.sum()))\n"
)


def loading(name: Path, cache: Path, first: str = "", then: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", first + LOADS + then, str(name), str(cache)], stdout=subprocess.PIPE, text=True
    )


def at(event: str, path: str, action: str) -> str:
    """Code that does `action` before a file of that ending is opened or renamed."""
    return (
        "import os, sys, time\n"
        "def watch(event, args):\n"
        f"    if event == {event!r} and str(args[0]).endswith({path!r}): {action}\n"
        "sys.addaudithook(watch)\n"
    )


@pytest.mark.slow
def test_open_imports_neither_torch_nor_decoder(tmp_path: Path) -> None:
    write_parquet(tmp_path / "own.parquet", noise(20, 6, 6), [0, 1] * 10)
    load(DatasetConfig(name=str(tmp_path / "own.parquet")), None, tmp_path)
    heavy = "print([name for name in ('torch', 'torchvision', 'sklearn', 'pyarrow', 'ray') if name in sys.modules])"
    process = loading(tmp_path / "own.parquet", tmp_path, then=heavy)
    assert process.communicate(timeout=PATIENCE)[0].splitlines()[1] == "[]"


@pytest.mark.slow
def test_load_decodes_without_torch(tmp_path: Path) -> None:
    write_parquet(tmp_path / "own.parquet", noise(20, 6, 6), [0, 1] * 10)
    process = loading(
        tmp_path / "own.parquet", tmp_path, then="print([name for name in ('torch', 'ray') if name in sys.modules])"
    )
    assert process.communicate(timeout=PATIENCE)[0].splitlines()[1] == "[]"


def test_load_maps_arrays_read_only(tmp_path: Path) -> None:
    digits = load(DatasetConfig(name="digits"), None, tmp_path)
    assert isinstance(digits.train_images, np.memmap)
    assert digits.folder.is_relative_to(tmp_path)
    with pytest.raises(ValueError, match="read-only"):
        digits.train_images[0] = 0


def test_dataset_is_pickled_as_its_path(tmp_path: Path) -> None:
    digits = load(DatasetConfig(name="digits"), None, tmp_path)
    packed = pickle.dumps(digits)
    assert len(packed) < 1000
    arrived = pickle.loads(packed)
    assert arrived.fingerprint == digits.fingerprint
    assert np.array_equal(arrived.test_images, digits.test_images)


def test_load_reuses_entry_of_same_contents(tmp_path: Path) -> None:
    write_folder(tmp_path / "shapes", "train", ["a", "b"], 5, 6, 6)
    config = DatasetConfig(name=str(tmp_path / "shapes"))
    first = load(config, None, tmp_path)
    built = (first.folder / "train_images.npy").stat().st_mtime_ns
    same = load(config.model_copy(update={"split_seed": 3, "pixels": "raw"}), None, tmp_path)
    assert (same.folder / "train_images.npy").stat().st_mtime_ns == built
    larger = load(config.model_copy(update={"image_size": 9}), None, tmp_path)
    write_png(tmp_path / "shapes" / "train" / "a" / "2.png", noise(1, 6, 6, seed=9)[0])
    changed = load(config, None, tmp_path)
    # the same files in the same order, and one of them now of another class
    (tmp_path / "shapes" / "train" / "a" / "4.png").rename(tmp_path / "shapes" / "train" / "b" / "+.png")
    moved = load(config, None, tmp_path)
    assert len({data.fingerprint for data in (first, larger, changed, moved)}) == 4


def test_fingerprint_does_not_depend_on_location(tmp_path: Path) -> None:
    for place in ("one", "two"):
        write_folder(tmp_path / place / "shapes", "train", ["a", "b"], 5, 6, 6)
    one, two = (
        load(DatasetConfig(name=str(tmp_path / p / "shapes")), None, tmp_path / "cache") for p in ("one", "two")
    )
    assert one.folder == two.folder


@pytest.mark.slow
def test_load_in_two_processes_makes_one_entry(tmp_path: Path) -> None:
    write_folder(tmp_path / "shapes", "train", ["a", "b"], 10, 6, 6)
    slowly = at("os.rename", ".unfinished", "time.sleep(1)")  # so that the others come while one is not done
    processes = [loading(tmp_path / "shapes", tmp_path / "cache", first=slowly) for _ in range(4)]
    said = {process.communicate(timeout=PATIENCE)[0] for process in processes}
    assert [process.returncode for process in processes] == [0] * 4
    assert len(said) == 1
    folder = said.pop().split()[0]
    assert [str(path) for path in (tmp_path / "cache" / "arrays").iterdir() if path.is_dir()] == [folder]


@pytest.mark.parametrize(("event", "path"), [("open", "test_images.npy"), ("os.rename", ".unfinished")])
@pytest.mark.slow
def test_load_ignores_a_killed_decoding(tmp_path: Path, event: str, path: str) -> None:
    write_folder(tmp_path / "shapes", "train", ["a", "b"], 10, 6, 6)
    arrays = tmp_path / "cache" / "arrays"
    killed = at(event, path, "os.kill(os.getpid(), 9)")
    process = loading(tmp_path / "shapes", tmp_path / "cache", first=killed)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGKILL
    left = [path for path in arrays.iterdir() if path.is_dir()]
    assert [path.suffix for path in left] == [".unfinished"]
    shapes = load(DatasetConfig(name=str(tmp_path / "shapes")), None, tmp_path / "cache")
    assert len(shapes.train_images) + len(shapes.test_images) == 20
    assert not left[0].exists()


def test_open_refuses_a_damaged_entry(tmp_path: Path) -> None:
    digits = load(DatasetConfig(name="digits"), None, tmp_path)
    path = digits.folder / "train_images.npy"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match="delete it to decode again"):
        Dataset.open(digits.folder)
    with pytest.raises(DataError, match=re.escape(str(digits.folder))):
        load(DatasetConfig(name="digits"), None, tmp_path)


def test_open_refuses_a_folder_without_entry(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no intact cache entry"):
        Dataset.open(tmp_path)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Entry that another machine made of `own.parquet`, beside an empty cache."""
    write_parquet(tmp_path / "own.parquet", noise(20, 6, 6), [0, 1] * 10)
    entry = load(DatasetConfig(name="own.parquet"), tmp_path, tmp_path / "there").folder
    shutil.rmtree(tmp_path / "there")
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "here"))
    return entry


def test_ensure_cached_decodes_where_entry_is_missing(elsewhere: Path, tmp_path: Path) -> None:
    local = ensure_cached(elsewhere, DatasetConfig(name="own.parquet"), tmp_path)
    assert local == tmp_path / "here" / "arrays" / elsewhere.name
    assert len(Dataset.open(local).train_labels) == 16
    (tmp_path / "own.parquet").unlink()
    assert ensure_cached(local, DatasetConfig(name="own.parquet"), tmp_path) == local


def test_ensure_cached_refuses_other_images(elsewhere: Path, tmp_path: Path) -> None:
    write_parquet(tmp_path / "own.parquet", noise(20, 6, 6), [1, 0] * 10)
    with pytest.raises(DataError, match=rf"^own.parquet: the images on \S+ .* are not the study's \({elsewhere}\)$"):
        ensure_cached(elsewhere, DatasetConfig(name="own.parquet"), tmp_path)
