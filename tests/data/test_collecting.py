"""Images that are collected while a data set is decoded."""

import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from tests.support.image_files import noise
from tuner.data import collecting
from tuner.data.collecting import Collector, on_disk, taken

GRAY, COLOR = noise(9, 4, 4), noise(9, 4, 4, 3, seed=1)


@pytest.mark.parametrize("is_on_disk", [False, True])
@pytest.mark.parametrize("chunk_bytes", [1, 100, 1 << 20])
@pytest.mark.parametrize("colored", [[], [8], [0, 1, 5], range(9)])
def test_collector_stacks_gray_and_colored_images(
    is_on_disk: bool, chunk_bytes: int, colored: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "CHUNK_BYTES", chunk_bytes)
    with on_disk(tmp_path / "new") if is_on_disk else nullcontext(), Collector() as collector:
        for i in range(9):
            collector.add(COLOR[i] if i in colored else GRAY[i])
        stacked = collector.stacked()
    assert stacked.shape == (9, 3 if colored else 1, 4, 4)
    assert isinstance(stacked, np.memmap) == is_on_disk
    for i in range(9):
        assert np.array_equal(stacked[i].transpose(1, 2, 0), COLOR[i] if i in colored else GRAY[i][..., None].repeat(stacked.shape[1], 2))  # fmt: skip # noqa: E501
    with on_disk(tmp_path / "new") if is_on_disk else nullcontext():
        assert np.array_equal(taken(stacked, np.array([7, 0, 7])), stacked[[7, 0, 7]])
    assert list(tmp_path.rglob("*.*")) == []


def test_collector_without_images_is_empty(tmp_path: Path) -> None:
    with on_disk(tmp_path), Collector() as collector:
        assert collector.stacked().shape == (0, 1, 0, 0)


@pytest.mark.slow
def test_decoding_needs_little_memory(tmp_path: Path) -> None:
    """80 MB of images, a part of them held out, and gray ones among colored ones."""
    if not Path("/proc/self/status").exists():
        pytest.skip("needs Linux to tell private memory from mapped files")
    (tmp_path / "large_images.py").write_text(
        "import numpy as np\n"
        "class Large:\n"
        "    def __len__(self): return 1600\n"
        "    def __getitem__(self, i): return np.full((128, 128, 3) if i % 3 else (128, 128), i % 251, np.uint8), i % 4\n"  # noqa: E501
        "def images(): return Large()\n"
    )
    code = (
        "from pathlib import Path; from tuner.config.dataset import DatasetConfig\n"
        "from tuner.data import cache, progress, sources; import tuner.data.formats.function\n"
        "def private():\n"
        "    fields = dict(line.split(':') for line in open('/proc/self/status') if line.startswith('RssAnon'))\n"
        "    return int(fields['RssAnon'].split()[0]) * 1024\n"
        "most = before = private()\n"
        "def listen():\n"
        "    global most\n"
        "    most = max(most, private())\n"
        "with progress.heard(listen):\n"
        "    dataset = cache.load(DatasetConfig(name='large_images:images'), None, Path('cache'))\n"
        "assert dataset.train_images.shape == (1280, 3, 128, 128)\n"
        "assert all(image.min() == image.max() for image in dataset.train_images)\n"
        "print(most - before)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True, env=os.environ
    )
    assert int(ran.stdout) < 60e6  # without the file it is 150 MB
