"""Redacted copies: faces cannot be distinguished, and everything else is unchanged."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Outcome
from PIL import Image
from tiny_model import CONTRACT, GREEN, tiny_bytes

from mlcycle.artifact.seal import write_sealed
from mlcycle.inference.copies.redact import CELLS, ELLIPSE_SCALE, redact

pytest_plugins = ("tiny_album",)

Run = Callable[..., Outcome]
METHODS = ("blur", "pixelate", "fill")
SIDE = 120
# Its ellipse has the height of the image.
HALF = SIDE / ELLIPSE_SCALE / 2
BOX_14 = np.array([[60 - HALF, 60 - HALF, 60 + HALF, 60 + HALF]], np.float32)


@pytest.mark.parametrize("method", METHODS)
def test_the_whole_box_is_covered_and_distant_pixels_are_not(method: str) -> None:
    noise_HW3 = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    image = Image.fromarray(noise_HW3)
    changed_HW = (np.asarray(redact(image, np.array([[100, 50, 180, 150]], np.float32), method)) != noise_HW3).any(-1)
    assert changed_HW[51:149, 101:179].mean() > 0.99
    rows, columns = np.nonzero(changed_HW)
    # The centre is at 140, 100, and the box has 80 x 100 pixels.
    corners = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    middle_2, half_2 = np.array([140, 100]), ELLIPSE_SCALE * np.array([40, 50])
    assert corners == pytest.approx([*(middle_2 - half_2), *(middle_2 + half_2)], abs=1)
    assert (np.asarray(image) == noise_HW3).all()


@pytest.mark.parametrize("method", METHODS)
def test_faces_that_differ_only_within_cells_become_equal(method: str) -> None:
    random = np.random.default_rng(1)
    face_HW3 = random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    cell = SIDE // CELLS
    other_HW3 = face_HW3.copy()
    for row in range(0, SIDE, cell):
        for column in range(0, SIDE, cell):
            pixels = other_HW3[row : row + cell, column : column + cell].reshape(-1, 3)
            other_HW3[row : row + cell, column : column + cell] = random.permutation(pixels).reshape(cell, cell, 3)
    one, other = (np.asarray(redact(Image.fromarray(each), BOX_14, method)) for each in (face_HW3, other_HW3))
    inside_HW = np.hypot(*(np.indices((SIDE, SIDE)) - SIDE / 2 + 0.5)) < SIDE / 2 - 2
    # Means are rounded along rows and then along columns, so the order of pixels may change their last bit.
    assert np.abs(one[inside_HW].astype(int) - other[inside_HW]).max() <= 3


def test_of_a_face_cut_by_the_border_no_finer_cells_remain() -> None:
    noise_HW3 = np.random.default_rng(2).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    strip_14 = np.array([[-90, 50, 10, 150]], np.float32)  # of the ellipse 50 of 180 columns are in the image
    changed_HW3 = np.asarray(redact(Image.fromarray(noise_HW3), strip_14, "pixelate"))
    within_HW3 = changed_HW3[60:140, :20]
    assert len(np.unique(within_HW3.reshape(-1, 3), axis=0)) == CELLS


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [(1, 1), (3, 2000), (2000, 3)])
def test_odd_boxes_and_images_can_be_redacted(method: str, size: tuple[int, int]) -> None:
    boxes_N4 = np.array([[0, 0, *size], [0, 0, 0, 0], [*size, *size], [0, 0, 1, 1]], np.float32)
    assert redact(Image.new("RGB", size), boxes_N4, method).size == size


@pytest.mark.parametrize("method", METHODS)
def test_the_model_finds_no_redacted_face(mlcycle: Run, tmp_path: Path, method: str) -> None:
    import skimage

    Image.fromarray(skimage.data.astronaut()).save(tmp_path / "astronaut.png")
    assert mlcycle("infer", tmp_path / "astronaut.png", "--redact", method, tmp_path / "out").code == 0
    assert "No face." in mlcycle("infer", tmp_path / "out" / "astronaut.png").out


def test_redaction_covers_doubtful_regions_and_says_where(mlcycle: Run, pixels: np.ndarray, tmp_path: Path) -> None:
    model, source = tmp_path / "two.onnx", tmp_path / "in"
    write_sealed(tiny_bytes(replace(CONTRACT, thresholds={"sensitive": 0.3, "balanced": 0.8})), model)
    doubtful_HW3 = pixels.copy()
    doubtful_HW3[95:150, 340:380] = pixels[0, 0]  # a quarter of the patch: the rest scores .75
    source.mkdir()
    Image.fromarray(pixels).save(source / "clear.png")
    for name in ("one.png", "two.png"):
        Image.fromarray(doubtful_HW3).save(source / name)
    arguments = ("infer", "dir", source, "--model", model, "--format", "jsonl", "--redact", "fill")
    said = "2 doubtful regions, with scores below 0.8, in 2 images"
    for more, counts, sentence in (
        ((), [1, 1, 1], said),
        (("--at", "balanced"), [1, 0, 0], "no doubtful regions"),
        (("--threshold", "0.7"), [1, 1, 1], said),
    ):
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        outcome = mlcycle(*arguments, out, *more)
        assert [len(json.loads(line)["faces"]) for line in outcome.out.splitlines()] == counts
        assert sentence in outcome.err
        assert ("check two.png (1), one.png (1)" in outcome.err) == (said == sentence)
        is_green_HW = (np.asarray(Image.open(out / "one.png")) == GREEN).all(axis=2)
        assert is_green_HW.any() == (more == ("--at", "balanced"))
    run = tmp_path / "run"
    assert said in mlcycle(*arguments[:5], "--out", run, "--redact", "fill", tmp_path / "copies").err
    assert json.loads((run / "summary.json").read_text())["settings"]["threshold"] == 0.3


def test_copies_keep_the_tree_and_have_no_metadata(mlcycle: Run, album: Path, tiny: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "where I live"
    with Image.open(album / "one.jpg") as image:
        image.save(album / "one.jpg", exif=exif, comment=b"secret", icc_profile=b"profile", xmp=b"<x>secret</x>")
    out = tmp_path / "out"
    outcome = mlcycle("infer", "dir", album, "--model", tiny, "--redact", "fill", out, "--format", "jsonl")
    assert outcome.code == 3  # one image is broken and has no copy
    assert f"redacted in {out}" in outcome.err
    records = {each["input"]: each["redacted"] for each in map(json.loads, outcome.out.splitlines())}
    assert records == {
        "broken.jpg": None,
        "inside/two.png": (out / "inside" / "two.png").as_posix(),
        "none.jpg": (out / "none.jpg").as_posix(),
        "one.jpg": (out / "one.jpg").as_posix(),
    }
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.*")) == sorted(records)[1:]
    with Image.open(out / "one.jpg") as copy:
        copy.load()
        assert not dict(copy.getexif())
        assert not {"exif", "comment", "icc_profile", "xmp"} & set(copy.info)
    assert b"secret" not in (out / "one.jpg").read_bytes()
    refused = mlcycle("infer", "dir", album, "--model", tiny, "--redact", "fill", out)
    assert refused.code == 3
    assert "3 of 4 copies exist already" in refused.err


def test_both_kinds_of_copies_in_one_folder_are_refused(mlcycle: Run, album: Path, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    image = album / "one.jpg"
    outcome = mlcycle("infer", image, "--model", tiny, "--redact", "blur", out, "--annotate", out)
    assert outcome.code == 3
    assert "two kinds of copies" in outcome.err
    assert not out.exists()
    outcome = mlcycle("infer", image, "--model", tiny, "--redact", "blur", out, "--annotate", tmp_path / "drawn")
    assert outcome.code == 0
    assert f"drawn in {tmp_path / 'drawn'}; redacted in {out}" in outcome.err


def test_a_redacted_copy_never_replaces_the_image(mlcycle: Run, album: Path, tiny: Path) -> None:
    before = (album / "one.jpg").read_bytes()
    outcome = mlcycle("infer", album / "one.jpg", "--model", tiny, "--redact", "blur", album, "--overwrite")
    assert outcome.code == 3
    assert (album / "one.jpg").read_bytes() == before


def test_an_unknown_method_is_a_usage_error(mlcycle: Run, album: Path, tiny: Path, tmp_path: Path) -> None:
    outcome = mlcycle("infer", album / "one.jpg", "--model", tiny, "--redact", "smear", tmp_path / "out")
    assert outcome.code == 2
    assert "smear" in outcome.err
