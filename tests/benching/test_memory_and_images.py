"""Memory of this process and of child processes; generated images, and those of a folder."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest
from PIL import Image

from mlcycle.benching import bench, bench_images, cold_start, memory
from mlcycle.errors import InputError, MlcycleError
from mlcycle.progress import Silent


def test_the_peak_is_read_from_the_kernel(tmp_path):
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmHWM:\t   1024 kB\nVmRSS:\t     7 kB\n")
    assert memory.own_peak(status) == 2**20
    assert memory.own_peak(tmp_path / "none") > 2**22  # from getrusage, without such a file


@pytest.mark.slow
def test_the_peak_of_a_cold_start_excludes_the_memory_of_this_process():
    ballast = np.ones(50_000_000)  # 400 MB
    result = cold_start.measure([sys.executable, "-S", "-c", "pass"], 2, lambda: None)
    assert len(ballast)
    assert result["runs"] == 2
    assert 2**20 < result["peak_memory_bytes"] < 2**27
    assert 0 < result["least_seconds"] <= result["median_seconds"] <= result["most_seconds"]


def test_a_process_that_fails_raises_an_error():
    words = [sys.executable, "-c", "import sys; sys.stderr.write('error: out of ink\\n'); sys.exit(4)"]
    with pytest.raises(MlcycleError, match="exited with 4: out of ink"):
        cold_start.measure(words, 1, lambda: None)


def test_synthetic_images_are_reproducible_and_about_a_megapixel(tmp_path):
    image_sets = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        image_sets.append(bench_images.synthetic(tmp_path / name, 2))
    first, second = image_sets
    assert [path.read_bytes() for path in first.paths] == [path.read_bytes() for path in second.paths]
    assert first.fingerprint == second.fingerprint
    assert first.paths[0].read_bytes() != first.paths[1].read_bytes()
    for path in first.paths:
        with Image.open(path) as image:
            assert image.width * image.height == pytest.approx(1e6, rel=0.1)


def test_the_fingerprint_depends_on_the_images_not_on_the_folder_name(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    with pytest.raises(InputError, match="contains no images"), bench_images.opened(folder):
        pass
    (folder / "a.jpg").write_bytes(b"12345")
    with bench_images.opened(folder) as before:
        assert before.kind == "folder"
    moved = folder.rename(tmp_path / os.fsdecode(b"moved\xff" if sys.platform == "linux" else b"moved"))
    with bench_images.opened(moved) as after:
        assert after.fingerprint == before.fingerprint
    (moved / "a.jpg").write_bytes(b"123456")
    with bench_images.opened(moved) as changed:
        assert changed.fingerprint != before.fingerprint


def test_no_cold_start_shows_no_bar():
    class WithoutBars(Silent):
        def bar(self, description, total):
            raise AssertionError(description)

    assert bench._cold_start([sys.executable], 0, WithoutBars()) is None
