"""Crops of faces: written completely or not at all, and never over another file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from conftest import Outcome
from PIL import Image

from mlcycle import files
from mlcycle.artifact.contract import LANDMARKS
from mlcycle.inference.copies import crops
from mlcycle.inference.copies.crops import TEMPLATE_52, square
from mlcycle.inference.record import Record

pytest_plugins = ("tiny_album",)

Run = Callable[..., Outcome]
BOX_14 = np.array([[20, 30, 60, 90]], np.float32)


def test_a_square_has_the_images_pixels_and_black_outside() -> None:
    noise_HW3 = np.random.default_rng(0).integers(1, 256, (100, 300, 3), dtype=np.uint8)
    crop_HW3 = np.asarray(square(Image.fromarray(noise_HW3), BOX_14[0]))
    # 60 high plus a fifth of that on each side: 84, around the centre 40, 60.
    assert crop_HW3.shape == (84, 84, 3)
    assert (crop_HW3[:82, 2:] == noise_HW3[18:, :82]).all()
    assert not crop_HW3[82:].any()
    assert not crop_HW3[:, :2].any()


@pytest.mark.parametrize("size", [(1, 1), (3, 2000), (2000, 3)])
@pytest.mark.parametrize("box", [(0, 0, 0, 0), (0, 0, 1, 1), (1990, 1990, 2000, 2000), (0, 0, 1000, 1000)])
def test_odd_boxes_and_images_give_a_square(size: tuple[int, int], box: tuple[int, ...]) -> None:
    crop = square(Image.new("RGB", size), np.array(box, np.float32))
    assert crop.width == crop.height >= 1


def test_a_large_face_is_not_a_decompression_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert square(Image.new("RGB", (20, 8)), np.array([0, 0, 20, 8], np.float32)).size == (28, 28)


def test_crops_have_no_metadata(tmp_path: Path) -> None:
    image = Image.new("RGB", (100, 100), "red")
    image.info |= {"icc_profile": b"profile", "comment": b"secret", "dpi": (72, 72)}
    crops.write(image, BOX_14, tmp_path / "square")
    crops.write(image, BOX_14, tmp_path / "aligned", landmarks_N52=TEMPLATE_52[None])
    for folder, side in (("square", 84), ("aligned", 112)):
        with Image.open(tmp_path / folder / "1.png") as crop:
            assert (crop.size, crop.info) == ((side, side), {})


def test_crops_of_an_image_are_written_completely_or_not_at_all(tmp_path: Path) -> None:
    image = Image.new("RGB", (100, 100), "red")
    folder = tmp_path / "in" / "a.jpg"
    boxes_24 = np.concatenate([BOX_14, BOX_14 + 5])
    one_point_252 = np.stack([TEMPLATE_52, np.full((5, 2), 20.0)])
    with pytest.raises(ValueError, match="coincide"):
        crops.write(image, boxes_24, folder, landmarks_N52=one_point_252)
    assert list(folder.parent.iterdir()) == []
    assert crops.write(image, boxes_24, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["1.png", "2.png"]
    before = (folder / "1.png").read_bytes()
    with pytest.raises(FileExistsError):
        crops.write(image, BOX_14, folder)
    assert (folder / "1.png").read_bytes() == before


def test_only_a_folder_of_crops_is_replaced(tmp_path: Path) -> None:
    image = Image.new("RGB", (100, 100))
    folder = tmp_path / "a.jpg"
    crops.write(image, np.concatenate([BOX_14, BOX_14]), folder)
    assert crops.write(image, BOX_14, folder, overwrite=True)
    assert [path.name for path in folder.iterdir()] == ["1.png"]
    assert not crops.write(image, BOX_14[:0], folder, overwrite=True)  # crops of another run must not remain
    assert list(tmp_path.iterdir()) == []
    folder.mkdir()
    (folder / "holiday.jpg").write_bytes(b"mine")
    for boxes_N4 in (BOX_14, BOX_14[:0]):
        with pytest.raises(OSError, match="was not replaced"):
            crops.write(image, boxes_N4, folder, overwrite=True)
    assert (folder / "holiday.jpg").read_bytes() == b"mine"
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(OSError, match="was not replaced"):
        crops.write(image, BOX_14, tmp_path / "link", overwrite=True)


def test_a_folder_that_a_killed_run_finished_is_kept(tmp_path: Path) -> None:
    image = Image.effect_noise((100, 100), 50).convert("RGB")
    crops.write(image, BOX_14, tmp_path / "a.jpg", token="run")
    before = (tmp_path / "a.jpg" / "1.png").stat()
    assert crops.write(image, BOX_14, tmp_path / "a.jpg", token="run")
    assert (tmp_path / "a.jpg" / "1.png").stat() == before
    for boxes_N4 in (BOX_14 + 3, np.concatenate([BOX_14, BOX_14]), BOX_14[:0]):
        with pytest.raises(FileExistsError):
            crops.write(image, boxes_N4, tmp_path / "a.jpg", token="run")
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]


def test_a_resumed_run_removes_temporary_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(crops.shutil, "rmtree", lambda *_, **__: None)
        patch.setattr(files, "_take_folder_name", killed)
        with pytest.raises(KeyboardInterrupt):
            crops.write(Image.new("RGB", (100, 100)), BOX_14, tmp_path / "a.jpg", token="run")
    assert [path.suffix for path in tmp_path.iterdir()] == [".part"]
    crops.write(Image.new("RGB", (100, 100)), BOX_14, tmp_path / "a.jpg", token="run")
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]


def test_crops_keep_the_tree_and_are_named_in_the_record(mlcycle: Run, album: Path, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("infer", "dir", album, "--model", tiny, "--crops", out, "--format", "jsonl")
    outcome = mlcycle(*arguments)
    assert outcome.code == 3  # one image is broken
    assert f"cropped in {out}" in outcome.err
    named = {each["input"]: each["crops"] for each in map(json.loads, outcome.out.splitlines())}
    assert named == {
        "broken.jpg": None,
        "inside/two.png": [f"{out}/inside/two.png/1.png", f"{out}/inside/two.png/2.png"],
        "none.jpg": None,
        "one.jpg": [f"{out}/one.jpg/1.png"],
    }
    files = sorted(str(path) for path in out.rglob("*") if path.is_file())
    assert files == sorted(name for names in named.values() for name in names or ())
    with Image.open(album / "one.jpg") as image, Image.open(out / "one.jpg" / "1.png") as crop:
        left, top = (300 + 380 - crop.width) // 2, (40 + 150 - crop.height) // 2
        assert crop.size == (154, 154)
        assert (np.asarray(crop) == np.asarray(image)[top : top + 154, left : left + 154]).all()
    refused = mlcycle(*arguments)
    assert (refused.code, refused.out) == (3, "")
    assert "2 of 4 copies exist already" in refused.err
    assert mlcycle(*arguments, "--overwrite").out.count("/1.png") == 2


def test_crops_of_a_run_are_in_its_records(mlcycle: Run, album: Path, tiny: Path, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    arguments = ("infer", "dir", album, "--model", tiny, "--crops", out, "--out", run)
    assert mlcycle(*arguments).code == 3
    before = (run / "records.jsonl").read_bytes()
    records = [Record.from_dict(json.loads(line), LANDMARKS) for line in before.splitlines()]
    assert records[1].crops() == [f"{out}/inside/two.png/1.png", f"{out}/inside/two.png/2.png"]
    with closing(sqlite3.connect(run / "ledger.sqlite")) as ledger, ledger:
        ledger.execute(
            "delete from records where status = 'ok'"
        )  # as if killed after crops were written and before records were
    assert "2 images, 3 faces, 0 failed" in mlcycle(*arguments, "--resume").err
    assert (run / "records.jsonl").read_bytes() == before
    refused = mlcycle(*arguments, "--resume", "--align")
    assert (refused.code, (run / "records.jsonl").read_bytes()) == (2, before)
    assert "align" in refused.err


def test_crops_never_replace_the_image(mlcycle: Run, album: Path, tiny: Path) -> None:
    before = (album / "one.jpg").read_bytes()
    outcome = mlcycle("infer", album / "one.jpg", "--model", tiny, "--crops", album, "--overwrite")
    assert outcome.code == 3
    assert (album / "one.jpg").read_bytes() == before


def test_an_existing_folder_is_reported_in_the_record(mlcycle: Run, album: Path, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "one.jpg").mkdir()
    (tmp_path / "one.jpg" / "mine.txt").write_text("mine")
    outcome = mlcycle(
        "infer", album / "one.jpg", "--model", tiny, "--crops", tmp_path, "--overwrite", "--format", "json"
    )
    (record,) = json.loads(outcome.out)["records"]
    assert (outcome.code, record["error"]["code"], record["crops"], len(record["faces"])) == (3, "not-written", None, 1)
