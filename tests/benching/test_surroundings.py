"""Memory of this process and of fresh ones; images that are made, and those of a folder."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest
from PIL import Image

from mlcycle.benching import bench_images, cold_start, memory
from mlcycle.errors import InputError, MlcycleError


def test_the_kernel_s_mark_of_the_peak_is_taken(tmp_path):
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmHWM:\t   1024 kB\nVmRSS:\t     7 kB\n")
    assert memory.own_peak(status) == 2**20
    assert memory.own_peak(tmp_path / "none") > 2**22  # as getrusage has it, where there is no such file


def test_a_fresh_process_is_not_charged_with_the_memory_of_the_one_that_asks():
    held = np.ones(50_000_000)  # 400 MB
    seen = cold_start.measure([sys.executable, "-S", "-c", "pass"], 2, lambda: None)
    assert len(held)
    assert seen["runs"] == 2
    assert 2**20 < seen["peak_memory_bytes"] < 2**27
    assert 0 < seen["least_seconds"] <= seen["median_seconds"] <= seen["most_seconds"]


def test_a_fresh_process_that_fails_is_no_measurement():
    words = [sys.executable, "-c", "import sys; sys.stderr.write('error: out of ink\\n'); sys.exit(4)"]
    with pytest.raises(MlcycleError, match="exited with 4 and said: out of ink"):
        cold_start.measure(words, 1, lambda: None)
    assert cold_start.measure(words, 0, lambda: None) is None


def test_synthetic_images_are_the_same_each_time_and_about_a_megapixel(tmp_path):
    albums = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        albums.append(bench_images.synthetic(tmp_path / name, 2))
    first, second = albums
    assert [path.read_bytes() for path in first.paths] == [path.read_bytes() for path in second.paths]
    assert first.fingerprint == second.fingerprint
    assert first.paths[0].read_bytes() != first.paths[1].read_bytes()
    for path in first.paths:
        with Image.open(path) as image:
            assert image.width * image.height == pytest.approx(1e6, rel=0.1)


def test_a_folder_s_fingerprint_follows_its_images_not_its_name(tmp_path):
    folder = tmp_path / "album"
    folder.mkdir()
    with pytest.raises(InputError, match="holds no images"), bench_images.opened(folder):
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
