"""`tuner export` and `tuner predict`: what they print, write and refuse."""

import io
import json
from csv import DictReader
from pathlib import Path

import pytest
import typer
from PIL import Image

from tests.support.kept_study import NUMBER, train_study, write_test_images
from tuner.cli.export import export
from tuner.cli.predict import MOST_UNREADABLE, predict
from tuner.data.contact_sheet import CELL, COLUMNS
from tuner.errors import DataError, StudyError
from tuner.results.folder import StudyResults

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyResults:
    return train_study(tmp_path_factory.mktemp("results") / "kept")


@pytest.fixture(scope="module")
def images(study: StudyResults, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images") / "test"
    for file in write_test_images(study, folder)[50:]:
        file.unlink()
    return folder


def test_predict_agrees_with_recorded_predictions(
    study: StudyResults, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predict(str(study.folder), [images], csv=True, top=2)
    rows = list(DictReader(io.StringIO(capsys.readouterr().out)))
    recorded = study.predictions.sort_values("index").head(50)
    assert [row["image"] for row in rows] == [f"{images}/{index:04}.png" for index in range(50)]
    assert [int(row["class_1"]) for row in rows] == recorded["predicted"].tolist()
    found = [float(row["probability_1"]) for row in rows]
    assert found == pytest.approx(recorded["probability"].tolist(), abs=1e-5)
    assert all(float(row["probability_2"]) <= float(row["probability_1"]) for row in rows)


def test_export_and_predict_name_what_they_did(
    study: StudyResults, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "model.safetensors"
    export(str(study.folder), output=file)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"Written: {file}"
    assert lines[1] == f"Network: vazquez_bn of trial {NUMBER} of kept, 200 training images"
    assert lines[2].startswith("Checked: 256 images of the study, probabilities differ by ")
    predict(str(file), [images / "0007.png", images / "0003.png"], top=1)
    header, first, second, summary, network = capsys.readouterr().out.splitlines()
    assert header.split() == ["image", "class", "probability"]
    assert first.split()[0] == f"{images}/0007.png"
    assert second.split()[0] == f"{images}/0003.png"
    assert summary.startswith("Images: 2 (")
    assert network == lines[1]


def test_predict_writes_json_and_leaves_out_unreadable(
    study: StudyResults, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(MOST_UNREADABLE + 2):
        (tmp_path / f"broken\x1b[31m{number:02}.png").write_bytes(b"no image")
    hostile = tmp_path / 'a"b<script>[bold].png'
    hostile.write_bytes((images / "0000.png").read_bytes())
    with pytest.raises(typer.Exit) as ended:
        predict(str(study.folder), [tmp_path], as_json=True)
    printed = capsys.readouterr()
    (row,) = json.loads(printed.out)
    assert row["image"] == str(hostile)
    assert len(row["predictions"]) == 3
    assert sum(each["probability"] for each in row["predictions"]) <= 1.0001
    assert ended.value.exit_code == 1
    assert "\x1b" not in printed.err
    *named, last = printed.err.splitlines()
    assert len(named) == MOST_UNREADABLE
    assert last == f"Images left out: {MOST_UNREADABLE + 2}, 2 of them not named"


def test_nothing_readable_is_still_json(
    study: StudyResults, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(typer.Exit):
        predict(str(study.folder), [tmp_path], as_json=True, sheet=tmp_path / "sheet.png")
    assert json.loads(capsys.readouterr().out) == []
    assert not (tmp_path / "sheet.png").exists()


def test_contact_sheet_shows_least_certain(
    study: StudyResults, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predict(str(study.folder), [images], csv=True, top=1, sheet=tmp_path / "sheet.png")
    rows = list(DictReader(io.StringIO(capsys.readouterr().out)))
    least = min(rows, key=lambda row: float(row["probability_1"]))
    with Image.open(tmp_path / "sheet.png") as sheet, Image.open(least["image"]) as expected:
        assert sheet.width >= COLUMNS * CELL
        side = CELL - 12
        shown = sheet.crop((12, 40, 12 + side, 40 + side)).convert("L")
        assert list(shown.get_flattened_data()) == list(
            expected.resize((side, side), Image.Resampling.NEAREST).get_flattened_data()
        )
    with pytest.raises(DataError, match=r"--contact-sheet: .*sheet\.png exists"):
        predict(str(study.folder), [images], sheet=tmp_path / "sheet.png")


def test_predict_refuses_in_one_line(study: StudyResults, images: Path, tmp_path: Path) -> None:
    (tmp_path / "photo.txt").touch()
    for model, said in (
        (str(tmp_path / "none.onnx"), r"none\.onnx: no such file; `tuner export` writes one"),
        (str(tmp_path / "photo.txt"), r"photo\.txt: no model; allowed: a folder, or a file \.safetensors"),
    ):
        with pytest.raises(DataError, match=said):
            predict(model, [images])
    with pytest.raises(StudyError, match="no study 'kep'; did you mean 'kept'"):
        predict("kep", [images], results=str(Path(str(study.folder)).parent))
    with pytest.raises(StudyError, match="--csv and --json: found together"):
        predict(str(study.folder), [images], csv=True, as_json=True)
