"""A study on a full disk loses nothing that could be written."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import tuner
from tests.support.nodes import study_file
from tests.support.observers import Outage
from tests.support.trainables import FrugalTrial
from tuner.errors import StudyError
from tuner.results.tables import Tables
from tuner.storage import Storage
from tuner.study import writer
from tuner.study.run import StudyRun
from tuner.training.checkpoint import write_state

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("ray_session")]
TRIALS, EPOCHS = 5, 4


class Disk:
    """A disk of its own, of two megabytes."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._ballast = place / "ballast"

    def fill(self) -> None:
        """Leave not one byte free."""
        with self._ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass

    def free(self) -> None:
        self._ballast.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("a disk of its own needs root and the command mount")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tuner", place], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no disk of its own: {made.stderr.strip()}")
    yield Disk(place)
    subprocess.run(["umount", "--lazy", place], check=True)


def test_rows_wait_while_the_disk_is_full(disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "RETRY_SECONDS", 0.2)
    spec = tuner.load_spec(study_file(tmp_path, TRIALS, EPOCHS, keep_weights=0))
    outage = Outage(disk.fill, disk.free)
    with pytest.warns(UserWarning, match=r"No space left on device.*; rows wait, and are written once") as warned:
        study = StudyRun(spec, disk.place, observer=outage, trainable=FrugalTrial).run()
    assert len(warned) == 1, [str(one.message) for one in warned]
    assert list(study.trials["number"]) == list(range(TRIALS))
    assert set(study.trials["state"]) == {"COMPLETE"}
    assert set(study.trials["attempt"]) == {1}  # not one trial was disturbed
    for _, rows in study.epochs.groupby("number"):
        assert list(rows["epoch"]) == list(range(1, EPOCHS + 1))
    assert outage.meanwhile, "nothing was trained meanwhile"
    assert {*outage.meanwhile} <= {*zip(study.epochs["number"], study.epochs["epoch"], strict=True)}


def test_study_resumes_after_a_disk_stayed_full(disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "RETRY_SECONDS", 0.2)
    monkeypatch.setattr(writer, "FLUSH_TIMEOUT_SECONDS", 1.0)
    spec = tuner.load_spec(study_file(tmp_path, TRIALS, EPOCHS, keep_weights=0))
    said = r"small: the last rows could not be written and are lost: .*No space left on device"
    with pytest.warns(UserWarning, match="rows wait"), pytest.raises(StudyError, match=said) as raised:
        StudyRun(spec, disk.place, observer=Outage(disk.fill), trainable=FrugalTrial).run()
    assert str(raised.value).endswith("; the same command goes on from what was written")
    before = tuner.load_study(disk.place / "small").trials.query("state == 'COMPLETE'").set_index("number")
    assert 1 <= len(before) < TRIALS
    disk.free()
    study = StudyRun(spec, disk.place, trainable=FrugalTrial).run()
    assert study.trials.set_index("number").loc[before.index].equals(before)
    assert list(study.trials["number"]) == list(range(TRIALS))
    assert set(study.trials["state"]) == {"COMPLETE"}


def test_uncompacted_tables_stay_in_parts(disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compact = Tables.compact

    def fill_and_compact(self: Tables) -> None:
        if self.storage.names("trials"):  # which the study has written
            disk.fill()
        compact(self)

    monkeypatch.setattr(Tables, "compact", fill_and_compact)
    spec = tuner.load_spec(study_file(tmp_path, 2, 3, keep_weights=0))
    with pytest.warns(UserWarning, match=r"No space left on device.*; the tables are whole but stay in parts$"):
        study = StudyRun(spec, disk.place, trainable=FrugalTrial).run()
    assert list(study.trials["state"]) == ["COMPLETE", "COMPLETE"]
    assert len(list(disk.place.glob("small/trials/part-*"))) > 1


def test_full_disk_costs_only_a_checkpoint(disk: Disk) -> None:
    storage = Storage(disk.place / "small")
    write_state(storage, "checkpoints/00001/latest.pt", {"epoch": 1})
    kept = storage.read("checkpoints/00001/latest.pt")
    disk.fill()
    with pytest.warns(UserWarning, match=r"latest\.pt cannot be written: .*No space left on device"):
        write_state(storage, "checkpoints/00001/latest.pt", {"epoch": 2})
    assert storage.names("checkpoints/00001") == ["checkpoints/00001/latest.pt"]
    assert storage.read("checkpoints/00001/latest.pt") == kept
