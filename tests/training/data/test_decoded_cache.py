"""The decoded cache: the same crops as from the files, complete files only, decoded again when an image changes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from threading import Event

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402

from mlcycle import files  # noqa: E402
from mlcycle.datasets.labelled_image import LabelledImage  # noqa: E402
from mlcycle.errors import DataError  # noqa: E402
from mlcycle.training.data import decoded_cache  # noqa: E402
from mlcycle.training.data.crop import ImageFile  # noqa: E402
from mlcycle.training.data.decoded_cache import Decoded, decode_all  # noqa: E402

pytestmark = pytest.mark.training
pytest_plugins = ("marked_image",)


def decode(folder: Path, *paths: Path) -> tuple[list[Decoded], list[tuple[int, int]]]:
    progress: list[tuple[int, int]] = []
    there = decode_all(folder, paths, lambda done, images: progress.append((done, images)))
    return [there[path] for path in paths], progress


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("zoom", [1.5, 1.0, 0.6, 0.3, 0.12])
def test_a_window_equals_that_of_the_file(
    marked: dict[int, LabelledImage], orientation: int, zoom: float, tmp_path: Path
) -> None:
    path = marked[orientation].path
    (there,), _ = decode(tmp_path, path)
    file = ImageFile(path)
    assert there.size == file.size == (400, 512)
    window = (33.3, 101.0, 353.0, 500.5)
    size = round(zoom * (window[2] - window[0])), round(zoom * (window[3] - window[1]))
    (one, one_window), (other, other_window) = (each.part(zoom, window, size) for each in (there, file))
    assert one.shape == other.shape == (size[1], size[0], 3)
    # Each window is rounded to stored pixels: at most half a pixel from the requested one.
    assert np.abs(np.array(one_window) - window).max() <= 0.5 / max(0.25, 2 ** np.floor(np.log2(min(1.0, zoom)))) + 0.01
    if zoom < 0.5:
        return  # the two copies are of different sizes, and so are their windows
    assert np.array_equal(one, other)
    assert one_window == other_window


def test_decoded_images_are_not_decoded_again(marked: dict[int, LabelledImage], tmp_path: Path) -> None:
    paths = [marked[1].path, marked[6].path]
    (first, _), progress = decode(tmp_path, *paths)
    assert progress == [(1, 2), (2, 2)]
    before = first.file.stat().st_mtime_ns
    assert decode(tmp_path, *paths)[1] == []
    assert first.file.stat().st_mtime_ns == before


def test_a_truncated_file_is_decoded_again(marked: dict[int, LabelledImage], tmp_path: Path) -> None:
    (there,), _ = decode(tmp_path, marked[1].path)
    whole = there.file.read_bytes()
    there.file.write_bytes(whole[:1000])
    decode(tmp_path, marked[1].path)
    assert there.file.read_bytes() == whole


def test_a_changed_image_is_decoded_again(marked: dict[int, LabelledImage], tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    shutil.copy(marked[1].path, path)
    (before,), _ = decode(tmp_path / "decoded", path)
    Image.new("RGB", (400, 512), "blue").save(path)
    (after,), _ = decode(tmp_path / "decoded", path)
    assert after.file != before.file
    assert after.part(1.0, (0, 0, 10, 10), (10, 10))[0][5, 5].tolist() == pytest.approx([0, 0, 254], abs=2)


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    path = tmp_path / "torn.jpg"
    Image.effect_noise((300, 200), 80).convert("RGB").save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"torn\.jpg"):
        decode(tmp_path / "decoded", path)
    assert [each for each in (tmp_path / "decoded").rglob("*") if each.is_file()] == []


def test_size_and_time_are_announced_after_the_first_images(
    marked: dict[int, LabelledImage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoded_cache, "TRIAL", 1)
    happened: list[object] = []
    paths = [marked[1].path, marked[6].path]
    decode_all(tmp_path, paths, lambda done, images: happened.append(done), say=happened.append)
    assert happened == [1, f"decoding 2 images into {tmp_path}, once: 0.0 GB, less than a minute", 2]


def test_a_full_disk_is_reported_before_anything_is_written(
    marked: dict[int, LabelledImage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoded_cache, "SPARE", 2**62)
    with pytest.raises(DataError, match="GB are free"):
        decode(tmp_path / "decoded", marked[1].path)
    assert [each for each in (tmp_path / "decoded").rglob("*") if each.is_file()] == []


def test_one_image_under_two_names_is_decoded_once(
    marked: dict[int, LabelledImage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = marked[1].path
    monkeypatch.chdir(path.parent)
    (one, other), _ = decode(tmp_path, path, Path(path.name))
    assert one.file == other.file
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == [one.file]


def test_a_stop_request_skips_the_remaining_images(
    marked: dict[int, LabelledImage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = []
    for number in range(40):
        paths.append(tmp_path / f"{number}.jpg")
        shutil.copy(marked[1].path, paths[-1])
    write, is_requested = decoded_cache._write, Event()

    def wait_and_write(path: Path, place: Decoded) -> None:
        if path != paths[0]:  # or the others might be done before the request, where there are many cores
            is_requested.wait(30)
        write(path, place)

    monkeypatch.setattr(decoded_cache, "_write", wait_and_write)
    decode_all(tmp_path / "decoded", paths, lambda done, images: None, lambda: is_requested.set() or True)
    assert 1 <= len([each for each in (tmp_path / "decoded").rglob("*") if each.is_file()]) < 40


def test_a_folder_that_is_a_file_is_an_error(marked: dict[int, LabelledImage], tmp_path: Path) -> None:
    (tmp_path / "decoded").touch()
    with pytest.raises(DataError, match="cannot be decoded into"):
        decode(tmp_path / "decoded", marked[1].path)


def test_a_missing_decoded_image_is_an_error(marked: dict[int, LabelledImage], tmp_path: Path) -> None:
    (there,), _ = decode(tmp_path, marked[1].path)
    there.file.unlink()
    with pytest.raises(DataError, match="is missing or truncated"):
        there.part(1.0, (0, 0, 10, 10), (10, 10))


def test_old_incomplete_files_of_killed_processes_are_removed(marked: dict[int, LabelledImage], tmp_path: Path) -> None:
    (there,), _ = decode(tmp_path, marked[1].path)
    there.file.unlink()
    old, new = (files.draft(there.file, token) for token in ("old", "new"))
    for each in (old, new):
        each.write_bytes(b"half")
    os.utime(old, (0, 0))
    decode(tmp_path, marked[1].path)
    assert (there.file.exists(), old.exists(), new.exists()) == (True, False, True)
