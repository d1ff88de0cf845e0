"""Groups of images: read from files, and never on two sides of a split."""

from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from tests.support.image_files import noise, png, write_folder
from tuner.config.dataset import DatasetConfig, GroupedShare
from tuner.config.study import parse_spec
from tuner.data import Dataset, load, split
from tuner.data.groups import grouped_sample
from tuner.errors import DataError, SpecError

Ints = NDArray[np.int64]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of 20 training images and 4 test images."""
    write_folder(tmp_path / "images", "train", ["cat", "dog"], 20, 8, 8)
    write_folder(tmp_path / "images", "test", ["cat", "dog"], 4, 8, 8)
    return tmp_path / "images"


def group_of(name: str) -> str:
    """Groups of four training images of a class, and others for the test."""
    part, _, file = name.split("/")
    return f"{part}-{int(Path(file).stem) // 4}"


def write_groups(folder: Path, group: Callable[[str], str] = group_of, add: str = "") -> Path:
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))
    lines = [f"{name},{group(name)}" for name in names if group(name)]
    path = folder / "groups.csv"
    path.write_text("\n".join(["image,group", *lines]) + "\n" + add)
    return path


def config(name: Path, groups: Path | str, share: float = 0.2, **more: object) -> DatasetConfig:
    return DatasetConfig.model_validate(
        {"name": str(name), "validation": {"groups": str(groups), "share": share}, **more}
    )


def refusal(folder: Path, groups: Path | str) -> str:
    wanted = config(folder, groups)
    with pytest.raises(DataError) as caught:
        split(load(wanted, cache=folder.parent / "cache"), wanted)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def sides(dataset: Dataset, wanted: DatasetConfig) -> tuple[set[int], set[int]]:
    assert dataset.groups is not None
    parts = split(dataset, wanted)
    of = dataset.groups.of_train
    return {*of[parts.train].tolist()}, {*of[parts.validation].tolist()}


def test_split_keeps_groups_of_a_file(folder: Path, tmp_path: Path) -> None:
    wanted = config(folder, write_groups(folder))
    dataset = load(wanted, cache=tmp_path / "cache")
    assert dataset.groups is not None
    assert dataset.groups.names == tuple(f"train-{i}" for i in range(5))
    train, validation = sides(dataset, wanted)
    assert not train & validation
    assert len(validation) == 1
    assert split(dataset, wanted).validation.tolist() == split(dataset, wanted).validation.tolist()


def test_split_seed_draws_other_groups(folder: Path, tmp_path: Path) -> None:
    file = write_groups(folder)
    dataset = load(config(folder, file), cache=tmp_path / "cache")
    drawn = {tuple(sides(dataset, config(folder, file, split_seed=seed))[1]) for seed in range(20)}
    assert len(drawn) > 2


def test_held_out_test_takes_whole_groups(folder: Path, tmp_path: Path) -> None:
    (folder / "test").rename(tmp_path / "elsewhere")
    wanted = config(folder, write_groups(folder))
    dataset = load(wanted, cache=tmp_path / "cache")
    assert dataset.groups is not None
    assert (len(dataset.train_labels), len(dataset.test_labels)) == (32, 8)
    assert np.bincount(dataset.groups.of_train, minlength=5).tolist().count(8) == 4
    assert np.bincount(dataset.test_labels).tolist() == [4, 4]


def test_groups_belong_to_the_fingerprint(folder: Path, tmp_path: Path) -> None:
    cache, file = tmp_path / "cache", folder / "groups.csv"
    plain = load(DatasetConfig(name=str(folder)), cache=cache).fingerprint
    first = load(config(folder, write_groups(folder)), cache=cache).fingerprint
    assert load(config(folder, file, share=0.4), cache=cache).fingerprint == first
    second = load(config(folder, write_groups(folder, lambda name: f"{group_of(name)}x")), cache=cache).fingerprint
    assert len({plain, first, second}) == 3


def test_parquet_groups_are_a_column(tmp_path: Path) -> None:
    images = [{"bytes": png(image), "path": None} for image in noise(20, 8, 8)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {"image": pa.array(images, kind), "label": [0, 1] * 10, "site": [i // 4 for i in range(20)]}
    pq.write_table(pa.table(columns), tmp_path / "all.parquet")
    wanted = config(tmp_path / "all.parquet", "site")
    train, validation = sides(load(wanted, cache=tmp_path / "cache"), wanted)
    assert train
    assert validation
    assert not train & validation
    with pytest.raises(DataError, match="no column 'sight'; did you mean 'site'"):
        load(config(tmp_path / "all.parquet", "sight"), cache=tmp_path / "cache")


@pytest.mark.parametrize(
    ("group", "add", "said"),
    [
        (
            lambda name: "" if "train/dog" in name else group_of(name),
            "",
            "no group of 20 of 48 images (such as train/d",
        ),
        (group_of, "train/cat/99.png,p\n", "line 50: no image 'train/cat/99.png'; did you mean 'train/cat/9.png'"),
        (group_of, "train/cat/9.png,p\n", "train/cat/9.png is of the groups 'train-2' and 'p'"),
        (group_of, "train/cat/9.png,\n", "line 50: no group"),
        (lambda name: name.split("/")[0], "", "one group ('train')"),
        (lambda _: "p", "", "1 group stands among training and test images ('p')"),
        (
            lambda name: name[:9] if "train/cat" in name else group_of(name),
            "",
            "class 'cat' that may be held out for val",
        ),
    ],
    ids=["misses", "not-there", "two-groups", "empty", "alone", "leaks", "class"],
)
def test_groups_refuse_bad_files(folder: Path, group: Callable[[str], str], add: str, said: str) -> None:
    assert said in refusal(folder, write_groups(folder, group, add))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no column 'image' (found: an empty file)"),
        (b"file,group\n", "no column 'image' (found: file, group)"),
        (b"image,group\n\xff,a\n", "no text in UTF-8"),
    ],
    ids=["empty", "header", "encoding"],
)
def test_groups_refuse_other_files(folder: Path, content: bytes, said: str) -> None:
    (folder / "groups.csv").write_bytes(content)
    assert said in refusal(folder, folder / "groups.csv")


def test_groups_need_a_file_that_exists(folder: Path) -> None:
    assert "no file" in refusal(folder, folder / "group.csv")
    assert "digits is neither" in refusal(Path("digits"), "groups.csv")


def test_study_file_reads_groups_in_any_order() -> None:
    for raw in ({"share": 0.3, "groups": "a.csv"}, {"groups": "a.csv", "share": 0.3}):
        assert DatasetConfig.model_validate({"validation": raw}).validation == GroupedShare(groups="a.csv", share=0.3)
    with pytest.raises(SpecError, match=r"dataset\.validation"):
        parse_spec({"study": "s", "dataset": {"validation": {"groups": "a.csv", "share": 2}}, "space": {}})


def random_case(seed: int) -> tuple[Ints, int, Ints, float]:
    """Labels, number of classes, groups and a share, of any balance."""
    draw = np.random.default_rng(seed)
    classes, count = int(draw.integers(2, 6)), int(draw.integers(2, 9))
    size = int(draw.integers(classes, 80))
    labels = np.concatenate([np.arange(classes), draw.choice(classes, size - classes, p=draw.dirichlet([1] * classes))])
    return labels, classes, draw.choice(count, size, p=draw.dirichlet([1] * count)), float(draw.uniform(0.05, 0.6))


def is_whole(labels: Ints, held: Ints, classes: int) -> bool:
    counts = np.bincount(labels[held], minlength=classes)
    return bool(((counts > 0) & (counts < np.bincount(labels, minlength=classes))).all())


@pytest.mark.slow
def test_no_group_stands_on_two_sides() -> None:
    for seed in range(60):
        labels, classes, groups, share = random_case(seed)
        held = grouped_sample(labels, classes, groups, share, seed)
        rest = np.setdiff1d(np.arange(len(labels)), held)
        assert not {*groups[held].tolist()} & {*groups[rest].tolist()}
        assert np.array_equal(held, grouped_sample(labels, classes, groups, share, seed))


@pytest.mark.slow
def test_grouped_sample_finds_every_possible_division() -> None:
    possible = 0
    for seed in range(100):
        labels, classes, groups, share = random_case(seed)
        names, of = np.unique(groups, return_inverse=True)
        choices = (np.flatnonzero(np.array(chosen)[of]) for chosen in product([False, True], repeat=len(names)))
        if any(is_whole(labels, held, classes) for held in choices):
            possible += 1
            assert is_whole(labels, grouped_sample(labels, classes, groups, share, seed), classes), seed
    assert possible > 25


def test_grouped_sample_keeps_shares_of_classes() -> None:
    draw = np.random.default_rng(0)
    groups = np.repeat(np.arange(200), 10)
    labels = draw.choice(3, 200, p=[0.7, 0.2, 0.1])[groups]
    held = grouped_sample(labels, 3, groups, 0.2, 0)
    shares = np.bincount(labels[held]) / np.bincount(labels)
    assert np.abs(shares - 0.2).max() < 0.03
