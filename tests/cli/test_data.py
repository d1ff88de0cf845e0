"""`tuner data`: what it counts, what it refuses, and the picture it writes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.image_files import noise, write_folder, write_parquet, write_png
from tuner.cli.data import data
from tuner.data.contact_sheet import GAP, LABEL, SIDE, TOP
from tuner.errors import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of 20 training images and 4 test images, one of them a copy."""
    pixels = write_folder(tmp_path / "images", "train", ["cat", "dog"], 20, 16, 16)
    write_folder(tmp_path / "images", "test", ["cat", "dog"], 4, 16, 16)
    write_png(tmp_path / "images" / "test" / "cat" / "0.png", pixels[0])
    return tmp_path / "images"


def rows(text: str) -> dict[str, list[str]]:
    """Cells by the first one of a line."""
    cells = [[cell for cell in line.split("  ") if cell] for line in text.splitlines()]
    return {line[0].strip(): [cell.strip() for cell in line[1:] if cell.strip()] for line in cells if line}


def files_below(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_data_counts_classes_parts_and_copies(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files_below(folder)
    data(str(folder))
    found = rows(capsys.readouterr().out)
    assert found["cat"] == ["18", "2", "4", "24"]
    assert found["all 2 classes"] == ["36", "4", "8", "48"]
    assert (found["sizes"], found["modes"], found["formats"]) == (["16x16 (48)"], ["L (48)"], ["PNG (48)"])
    copies = found.get("test in training") or found["test in validation"]
    assert copies == ["1", "0", "test/cat/0.png = train/cat/0.png"]
    assert files_below(folder) == before


def test_data_shows_own_validation_images(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(folder, "val", ["cat", "dog"], 3, 16, 16)
    data(str(folder))
    text = capsys.readouterr().out
    assert rows(text)["cat"] == ["20", "3", "4", "27"]
    assert "the validation images are those that the data set sets apart" in text


def test_data_compares_images_of_several_sizes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_png(folder / "train" / "cat" / "wide.png", noise(1, 10, 30, 3)[0])
    data(str(folder))
    text = capsys.readouterr().out
    assert rows(text)["sizes"] == ["16x16 (48), 30x10 (1)"]
    assert rows(text)["modes"] == ["L (48), RGB (1)"]
    assert "compared at 64x64 pixels; a study needs dataset.image_size" in text


@pytest.mark.parametrize("content", [b"", b"no image", "torn"], ids=["empty", "text", "torn"])
def test_data_lists_broken_images(folder: Path, capsys: pytest.CaptureFixture[str], content: bytes | str) -> None:
    whole = (folder / "train" / "cat" / "1.png").read_bytes()
    broken = content if isinstance(content, bytes) else whole[:-60]
    for name in ("3", "7"):
        (folder / "train" / "dog" / f"{name}.png").write_bytes(broken)
    with pytest.raises(DataError, match="2 broken images; mend or remove them"):
        data(str(folder))
    text = capsys.readouterr().out
    assert rows(text)["broken"] == ["2"]
    assert "train/dog/3.png: no readable image" in text
    assert "train/dog/7.png: no readable image" in text


def test_data_reads_parquet_and_names_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = noise(30, 8, 8, 3)
    images[29] = images[4]
    write_parquet(tmp_path / "all.parquet", images, [0, 1] * 15, ["a[b]", "c"])
    data(str(tmp_path / "all.parquet"))
    text = capsys.readouterr().out
    assert rows(text)["a[b]"][-1] == "15"
    assert "all.parquet: row 29 = all.parquet: row 4" in text or "all.parquet: row 4 = all.parquet: row 29" in text


def test_data_splits_as_a_study_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = folder.parent / "study.yaml"
    study.write_text(
        f"study: s\ndataset: {{name: {folder}, validation: 10, image_size: 8}}\n"
        "training: {architecture: resnet9}\nspace: {}\n"
    )
    data(str(study))
    assert rows(capsys.readouterr().out)["all 2 classes"] == ["30", "10", "8", "48"]


def test_data_says_why_nothing_is_validated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part, count in (("train", 3), ("test", 2)):
        write_folder(tmp_path / "few", part, ["a", "b"], count, 8, 8)
    data(str(tmp_path / "few"))
    text = capsys.readouterr().out
    assert rows(text)["all 2 classes"] == ["6", "0", "4", "10"]
    assert "no validation images drawn: dataset.validation: with 1 of 6 images held out" in text


def test_sheet_shows_images_of_each_class(folder: Path, tmp_path: Path) -> None:
    data(str(folder), sheet=tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape[0] == TOP + 2 * (SIDE + GAP) + GAP
    shown = sheet[TOP : TOP + SIDE, LABEL : LABEL + SIDE, 0]
    first = [np.asarray(Image.open(folder / "train" / "cat" / f"{i}.png").resize((SIDE, SIDE), 0)) for i in range(20)]
    assert any(np.array_equal(shown, each) for each in first)
    assert (sheet[TOP : TOP + SIDE, :LABEL] < 128).any()  # the name of the class


def test_sheet_is_refused_before_images_are_read(tmp_path: Path) -> None:
    (tmp_path / "there.png").write_bytes(b"mine")
    for file, said in (("there.png", "exists"), ("sheet.jpg", "ends in .png"), ("no/sheet.png", "no folder")):
        with pytest.raises(DataError, match=said):
            data("digits", sheet=tmp_path / file)
    assert (tmp_path / "there.png").read_bytes() == b"mine"
