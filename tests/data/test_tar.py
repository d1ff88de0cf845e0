"""Images in `.tar` shards with WebDataset's layout."""

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from tests.support.image_files import noise, png
from tuner.config.dataset import DatasetConfig
from tuner.data import load
from tuner.errors import DataError

IMAGES = noise(20, 6, 6)
PICTURE = png(IMAGES[0])
GOOD = [("a.png", PICTURE), ("a.cls", b"0"), ("b.png", PICTURE), ("b.cls", b"1")]


def write(path: Path, members: Iterable[tuple[str | tarfile.TarInfo, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            member = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def samples(numbers: Iterable[int], kind: str = "cls") -> list[tuple[str, bytes]]:
    members = []
    for i in numbers:
        label = f"{i % 2}\n".encode() if kind == "cls" else json.dumps({"label": ["dog", "cat"][i % 2]}).encode()
        members += [(f"{i:06}.png", png(IMAGES[i])), (f"{i:06}.{kind}", label)]
    return members


def special(kind: bytes, name: str = "a.png", to: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, to
    return member


@pytest.mark.parametrize("kind", ["cls", "json"])
def test_shards_give_images_and_labels(kind: str, tmp_path: Path) -> None:
    write(tmp_path / "own" / "train-000000.tar", samples(range(8), kind))
    write(tmp_path / "own" / "train-000001.tar", samples(range(8, 14), kind))
    write(tmp_path / "own" / "validation-000000.tar", samples(range(14, 16), kind))
    write(tmp_path / "own" / "test-000000.tar", samples(range(16, 20), kind))
    dataset = load(DatasetConfig(name=str(tmp_path / "own")), None, tmp_path / "cache")
    assert dataset.classes == (("0", "1") if kind == "cls" else ("cat", "dog"))
    assert np.array_equal(dataset.train_images[:, 0], IMAGES[:16])
    assert np.array_equal(dataset.test_images[:, 0], IMAGES[16:])
    assert dataset.own_validation == 2
    labels = [0, 1] if kind == "cls" else [1, 0]
    assert dataset.test_labels.tolist() == labels * 2
    assert dataset.names[0][8].endswith("train-000001.tar: 000008")


def test_shards_are_named_by_pattern(tmp_path: Path) -> None:
    write(tmp_path / "train-0.tar", samples(range(12)))
    write(tmp_path / "other-0.tar", samples(range(12, 16)))
    config = DatasetConfig(name=str(tmp_path / "train-*.tar"), test=str(tmp_path / "other-*.tar"))
    dataset = load(config, None, tmp_path / "cache")
    assert (len(dataset.train_labels), len(dataset.test_labels)) == (12, 4)


def test_members_beside_image_and_label_are_passed_over(tmp_path: Path) -> None:
    folders = [special(tarfile.DIRTYPE, "deep")]
    extra = [("./deep/a.PNG", PICTURE), ("deep/a.txt", b"caption"), ("deep/a.cls", b"cat"), ("deep/._a.png", b"x")]
    more = [("README.md", b"read me"), ("deep/b.json", b'{"class": 7, "label": 0}'), ("deep/b.png", PICTURE)]
    file = write(tmp_path / "a.tar", [*((each, b"") for each in folders), *extra, *more])
    with pytest.raises(DataError, match=r"some labels are text \(.*a\.tar: deep/a: 'cat'\), others numbers"):
        load(DatasetConfig(name=str(file)), None, tmp_path / "cache")


def test_keys_name_image_and_label(tmp_path: Path) -> None:
    members = []
    for i in range(10):
        about = json.dumps({"kind": i % 2, "label": "x"}).encode()
        files = {"seg.png": PICTURE, "rgb.png": png(IMAGES[i]), "cls": b"9", "json": about}
        members += [(f"{i}.{ending}", content) for ending, content in files.items()]
    name = str(write(tmp_path / "a.tar", members))
    with pytest.raises(DataError, match=r"a\.tar: 0: several images \(found: seg\.png, rgb\.png, cls, json\); dataset"):
        load(DatasetConfig(name=name), None, tmp_path / "cache")
    dataset = load(DatasetConfig(name=name, image="rgb.png", label="kind"), None, tmp_path / "cache")
    assert dataset.classes == ("0", "1")
    found = np.concatenate([dataset.train_images, dataset.test_images])
    assert sorted(map(bytes, found)) == sorted(map(bytes, IMAGES[:10]))


@pytest.mark.parametrize(
    ("members", "line"),
    [
        ([*GOOD, (special(tarfile.SYMTYPE, "c.png", "/etc/passwd"), b"")], "'c.png' is a link; allowed: files"),
        ([*GOOD, (special(tarfile.LNKTYPE, "c.png", "a.png"), b"")], "'c.png' is a link; allowed: files"),
        ([*GOOD, (special(tarfile.FIFOTYPE, "c.png"), b"")], "'c.png' is no plain file; allowed: files"),
        ([*GOOD, ("/c.png", PICTURE)], "'/c.png' is a path out of the archive"),
        ([*GOOD, ("x/../../c.png", PICTURE)], "'x/../../c.png' is a path out of the archive"),
        ([*GOOD, ("c.png", PICTURE)], "c: no label (found: png); allowed: a member .cls or .json"),
        ([*GOOD, ("c.cls", b"0")], "c: no image (found: cls); allowed: c.jpg or another image"),
        ([*GOOD, ("a.json", b"{}")], "'a.json': sample 'a' has other members before; keep them together"),
        ([*GOOD, ("b.cls", b"0")], "two members 'b.cls'; allowed: each name once"),
        ([*GOOD, ("c.png", b"no image"), ("c.cls", b"0")], "c: no readable image (broken, or of no known format)"),
        ([*GOOD, ("c.png", PICTURE), ("c.cls", b"\xff\xff")], "c.cls: no UTF-8 text"),
        ([*GOOD, ("c.png", PICTURE), ("c.cls", b"-1")], "c: label -1; allowed: 0, 1, 2, …"),
        ([*GOOD, ("c.png", PICTURE), ("c.cls", b"5")], "label 2 never occurs, 5 does"),
        ([*GOOD, ("c.png", PICTURE), ("c.json", b"{")], "c.json: no JSON (Expecting property name"),
        ([*GOOD, ("c.png", PICTURE), ("c.json", b"[" * 100_000)], "c.json: no JSON (maximum recursion depth"),
        ([*GOOD, ("c.png", PICTURE), ("c.json", b'{"lable": 1}')], "c.json: no key 'label'; did you mean 'lable'?"),
        ([*GOOD, ("c.png", PICTURE), ("c.json", b'{"label": 0.5}')], "c.json: label 0.5; allowed: a whole number"),
        ([("README.md", b"x")], "holds no images; allowed: members as 0001.jpg and 0001.cls"),
        ([*GOOD, ("\x1b[2J.png", PICTURE)], r"\x1b[2J: no label (found: png)"),
    ],
)  # fmt: skip
def test_hostile_members_are_refused_in_a_line(
    members: list[tuple[str | tarfile.TarInfo, bytes]], line: str, tmp_path: Path
) -> None:
    file = write(tmp_path / "a.tar", members)
    with pytest.raises(DataError) as caught:
        load(DatasetConfig(name=str(file)), None, tmp_path / "cache")
    assert line in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("kept", [0, 100, 512, 700, 1024, 1536, 2048, 3 * 1024])
def test_truncated_archives_are_refused(kept: int, tmp_path: Path) -> None:
    content = write(tmp_path / "a.tar", GOOD).read_bytes()
    assert len(content) > 4 * 1024  # four members with a block each, and the end
    (tmp_path / "a.tar").write_bytes(content[:kept])
    with pytest.raises(DataError, match=r"^\S+/a\.tar: (truncated or damaged|no readable archive|a: no label)[^\n]*$"):
        load(DatasetConfig(name=str(tmp_path / "a.tar")), None, tmp_path / "cache")


def test_damaged_block_is_not_the_end(tmp_path: Path) -> None:
    content = bytearray(write(tmp_path / "a.tar", GOOD).read_bytes())
    content[2048:2058] = b"0123456789"  # in the header of the third member
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.tar: truncated or damaged after 2,048 bytes; download it again$"):
        load(DatasetConfig(name=str(tmp_path / "a.tar")), None, tmp_path / "cache")


def test_compressed_archives_and_mixtures_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "b.tar", GOOD)
    with tarfile.open(tmp_path / "a.tar", "w:gz") as archive:
        archive.add(tmp_path / "b.tar")
    with pytest.raises(DataError, match=r"a\.tar: no readable archive \(.*\); allowed: \.tar without compression$"):
        load(DatasetConfig(name=str(tmp_path / "a.tar")), None, tmp_path / "cache")
    (tmp_path / "c.parquet").write_bytes(b"")
    with pytest.raises(DataError, match=r"b\.tar is a \.tar shard, other files are not; allowed: one kind$"):
        load(DatasetConfig(name=str(tmp_path / "b.tar"), test=str(tmp_path / "c.parquet")), None, tmp_path / "cache")


def test_missing_shards_are_refused_as_in_parquet(tmp_path: Path) -> None:
    write(tmp_path / "own" / "train-00000-of-00002.tar", samples(range(8)))
    with pytest.raises(DataError, match=r"one of 2 files, 1 found beside it; number 1 is missing: download it$"):
        load(DatasetConfig(name=str(tmp_path / "own")), None, tmp_path / "cache")
