"""All trials of a study compute alike, whichever GPUs later runs of it find."""

from pathlib import Path

import pytest

from tuner import data
from tuner.cluster.placement import Placement
from tuner.cluster.slots import TrialResources
from tuner.config.study import parse_spec
from tuner.results.folder import StudyFolder
from tuner.study import run_record
from tuner.study.observer import NullObserver
from tuner.study.run_record import RunRecord

SPEC = {"study": "kept", "training": {"architecture": "vazquez_base"}, "space": {}}


@pytest.mark.parametrize(("gpu", "expected"), [(0.5, [(8, 0), (8, 0)]), (0.0, [None, None])])
def test_capability_of_the_first_run_is_kept(
    gpu: float, expected: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = parse_spec(SPEC)
    dataset = data.load(spec.dataset, cache=tmp_path / "cache")
    folder, found = StudyFolder(tmp_path / spec.study), []
    for capability in ((8, 0), (7, 5)):
        monkeypatch.setattr(run_record, "lowest_capability", lambda capability=capability: capability)
        placement = Placement(TrialResources(1.0, gpu), slots=1)
        found.append(RunRecord(folder, spec, dataset, [], placement, NullObserver()).capability)
    assert found == expected
