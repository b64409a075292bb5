"""`mlcycle redact IMAGE...`: a copy beside each image, what is covered in it, and what to look at."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Outcome
from PIL import Image
from small_videos import images, write_video
from tiny_model import GREEN

pytest_plugins = ("tiny_album",)

Run = Callable[..., Outcome]
X1, Y1, X2, Y2 = 300, 40, 380, 150  # of the face in the images of tiny_album


def array_of(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


@pytest.fixture
def doubtful(tmp_path: Path) -> Path:
    """An image with a region at the top left that scores 0.2: two ends of a bar, a tenth of its box each."""
    from skimage import data

    pixels_HW3 = data.coffee().copy()
    pixels_HW3[20:40, 10:20] = pixels_HW3[20:40, 100:110] = GREEN
    Image.fromarray(pixels_HW3).save(tmp_path / "bar.png")
    return tmp_path / "bar.png"


def test_the_copy_is_beside_the_image_and_hides_the_face(mlcycle: Run, album: Path, tiny: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "Whereabouts"
    Image.open(album / "one.jpg").save(album / "Holiday.JPEG", exif=exif, quality=95)
    outcome = mlcycle("redact", album / "Holiday.JPEG", "--model", tiny)
    copy = album / "Holiday_redacted.JPEG"
    assert (outcome.code, outcome.out) == (0, f"{copy}  1 region covered\n")
    assert "look at the copy before you pass it on" in outcome.err
    assert b"Whereabouts" not in copy.read_bytes()
    before, after = array_of(album / "one.jpg"), array_of(copy)
    inside, outside = (slice(Y1 + 30, Y2 - 30), slice(X1 + 20, X2 - 20)), (slice(300, 400), slice(0, 200))
    assert np.abs(before[inside] - after[inside]).mean() > 10
    assert np.abs(before[outside] - after[outside]).mean() < 3


def test_a_real_face_is_not_found_again(mlcycle: Run, astronaut: Path, tmp_path: Path) -> None:
    photo = Path(shutil.copy(astronaut, tmp_path / "photo.jpg"))
    assert mlcycle("redact", photo).out == f"{tmp_path / 'photo_redacted.jpg'}  1 region covered\n"
    assert "No face." in mlcycle("infer", tmp_path / "photo_redacted.jpg").out


def test_methods_differ(mlcycle: Run, album: Path, tiny: Path) -> None:
    copies = {}
    for method in ("", "pixelate", "fill"):
        out = album / f"{method or 'default'}.png"
        mlcycle("redact", album / "one.jpg", "--model", tiny, "--out", out, *(["--method", method] if method else []))
        copies[method] = out.read_bytes()
    assert len(set(copies.values())) == 3


def test_doubtful_regions_are_counted_and_their_place_is_said(mlcycle: Run, doubtful: Path, tiny: Path) -> None:
    outcome = mlcycle("redact", doubtful, "--model", tiny, "--threshold", "0.1")
    copy = doubtful.with_name("bar_redacted.png")
    assert outcome.out == f"{copy}  1 region covered, 1 of them doubtful\n"
    assert f"look at {copy}: 1 doubtful region (top left), with scores below 0.5; others may" in outcome.err


def test_several_images_name_those_to_look_at(mlcycle: Run, album: Path, tiny: Path) -> None:
    images = [album / "one.jpg", album / "inside" / "two.png", album / "none.jpg"]
    outcome = mlcycle("redact", *images, "--model", tiny)
    assert outcome.code == 0
    assert [line.partition("  ")[2] for line in outcome.out.splitlines()] == [
        "1 region covered",
        "2 regions covered",
        "no face found: nothing is covered",
    ]
    assert f"look at {album / 'none_redacted.jpg'}: no face was found" in outcome.err
    assert str(album / "one_redacted.jpg") not in outcome.err
    assert (album / "inside" / "two_redacted.png").is_file()


def test_an_unreadable_image_has_no_copy_and_does_not_stop_the_others(mlcycle: Run, album: Path, tiny: Path) -> None:
    outcome = mlcycle("redact", album / "broken.jpg", album / "one.jpg", album / "gone.jpg", "--model", tiny)
    assert outcome.code == 3
    assert f"{album / 'broken.jpg'}  Unreadable: " in outcome.out
    assert f"{album / 'gone.jpg'}  Unreadable: no such file." in outcome.out
    assert [path.name for path in album.glob("*_redacted*")] == ["one_redacted.jpg"]


def test_a_damaged_image_has_no_copy(mlcycle: Run, album: Path, tiny: Path) -> None:
    data = bytearray((album / "one.jpg").read_bytes())
    data[len(data) // 3 : len(data) // 3 + 4096] = b"\xff" * 4096
    (album / "damaged.jpg").write_bytes(data)
    outcome = mlcycle("redact", album / "damaged.jpg", "--model", tiny)
    assert outcome.code == 3
    assert "no redacted copy of it is written" in outcome.out
    assert not (album / "damaged_redacted.jpg").exists()


def test_nothing_is_overwritten_unless_told(mlcycle: Run, album: Path, tiny: Path) -> None:
    copy = album / "one_redacted.jpg"
    copy.write_text("mine")
    refused = mlcycle("redact", album / "one.jpg", "--model", tiny)
    assert refused.code == 3
    assert refused.err == f"error: {copy} already exists\nhint: pass --overwrite, or another name with --out\n"
    assert copy.read_text() == "mine"
    assert mlcycle("redact", album / "one.jpg", "--model", tiny, "--overwrite").code == 0
    assert Image.open(copy).size == (512, 400)


@pytest.mark.parametrize("given", [["one.jpg", "one_redacted.jpg"], ["one.jpg", "--out", "one.jpg"]])
def test_an_original_is_never_replaced(mlcycle: Run, album: Path, tiny: Path, monkeypatch, given: list[str]) -> None:
    monkeypatch.chdir(album)
    shutil.copy("one.jpg", "one_redacted.jpg")
    before = {path: path.read_bytes() for path in album.glob("*.jpg")}
    outcome = mlcycle("redact", *given, "--model", tiny, "--overwrite")
    assert outcome.code == 3
    assert "would replace an image that is to be redacted" in outcome.err
    assert {path: path.read_bytes() for path in album.glob("*.jpg")} == before


def test_two_images_never_share_a_copy(mlcycle: Run, album: Path, tiny: Path) -> None:
    for name in ("same.png", "same.webp"):
        Image.open(album / "one.jpg").save(album / name)
    outcome = mlcycle("redact", album / "same.png", album / "same.webp", "--model", tiny)
    assert outcome.code == 2
    assert "would be the copy of two images" in outcome.err
    assert not list(album.glob("*_redacted*"))
    assert mlcycle("redact", album / "same.webp", "--model", tiny).code == 0
    assert Image.open(album / "same_redacted.png").format == "PNG"


def test_each_page_of_a_tiff_has_a_copy(mlcycle: Run, album: Path, tiny: Path) -> None:
    page = Image.open(album / "one.jpg")
    page.save(album / "scan.tif", save_all=True, append_images=[page])
    outcome = mlcycle("redact", album / "scan.tif", "--model", tiny)
    assert (outcome.code, len(outcome.out.splitlines())) == (0, 2)
    assert all((album / f"scan_redacted_{number}.png").is_file() for number in (1, 2))
    refused = mlcycle("redact", album / "scan.tif", "--model", tiny, "--out", album / "scan.png")
    assert refused.code == 2
    assert "--out names one copy, and there are 2 pages" in refused.err


@pytest.mark.parametrize(
    ("images", "out", "why"),
    [
        (["one.jpg", "none.jpg"], "x.jpg", "--out names one copy, and there are 2 images"),
        (["one.jpg"], "x.webp", "does not have the suffix of an image that can be written"),
        (["one.jpg"], "x.mp4", "does not have the suffix of an image that can be written"),
        (["clip.mp4"], "x.jpg", "does not have the suffix of a video that can be written"),
    ],
)
def test_a_copy_has_a_suffix_that_can_be_written(mlcycle: Run, album: Path, images, out, why) -> None:
    outcome = mlcycle("redact", *(album / each for each in images), "--out", album / out)
    assert outcome.code == 2
    assert why in outcome.err


def test_an_image_on_standard_input_needs_a_name(mlcycle: Run, album: Path, tiny: Path, monkeypatch) -> None:
    def given() -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((album / "one.jpg").read_bytes())))

    given()
    assert "name the copy: --out FILE" in mlcycle("redact", "-", "--model", tiny).err
    given()
    assert mlcycle("redact", "-", "--model", tiny, "--out", album / "copy.png").code == 0
    assert Image.open(album / "copy.png").size == (512, 400)


def test_a_name_at_the_limit_of_the_file_system_has_a_copy(mlcycle: Run, album: Path, tiny: Path) -> None:
    long = album / ("n" * 251 + ".jpg")
    shutil.copy(album / "one.jpg", long)
    assert mlcycle("redact", long, "--model", tiny).code == 0
    (copy,) = set(album.glob("nnn*.jpg")) - {long}
    assert len(copy.name) == 255
    assert copy.name.endswith("n_redacted.jpg")


def test_a_video_has_one_copy_and_one_line(mlcycle: Run, tmp_path: Path, tiny: Path) -> None:
    pytest.importorskip("av")
    clip = write_video(tmp_path / "clip.mov", images(5, without=[2]))
    outcome = mlcycle("redact", clip, "--model", tiny)
    assert outcome.out == f"{tmp_path / 'clip_redacted.mp4'}  5 frames, 4 regions covered\n"
    assert (tmp_path / "clip_redacted.mp4").stat().st_size > 1000
