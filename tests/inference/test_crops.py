"""Faces that are cut out: the photograph's own pixels, or turned and scaled onto the template of face recognition."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Outcome
from PIL import Image
from tiny_model import write_tiny_model

from mlcycle.inference import crops
from mlcycle.inference.crops import SIDE, TEMPLATE_52, aligned, similarity, square
from mlcycle.inference.record import Part

pytest_plugins = ("tiny_album",)

Run = Callable[..., Outcome]
BOX_14 = np.array([[20, 30, 60, 90]], np.float32)


def turned(points_N2: np.ndarray, scale: float, degrees: float, middle: float) -> np.ndarray:
    """Returns the template's points scaled and turned about their crop's middle, which comes to `middle`, `middle`."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return scale * (points_N2 - SIDE / 2) @ np.array([[cosine, sine], [-sine, cosine]]) + middle


def grey(values_HW: np.ndarray) -> Image.Image:
    return Image.fromarray(np.rint(values_HW).astype(np.uint8)).convert("RGB")


def test_a_square_is_the_photographs_own_pixels_and_black_beyond_it() -> None:
    noise_HW3 = np.random.default_rng(0).integers(1, 256, (100, 300, 3), dtype=np.uint8)
    crop_HW3 = np.asarray(square(Image.fromarray(noise_HW3), BOX_14[0]))
    # 60 high and a fifth of that at each end: 84, around the middle 40, 60.
    assert crop_HW3.shape == (84, 84, 3)
    assert (crop_HW3[:82, 2:] == noise_HW3[18:, :82]).all()
    assert not crop_HW3[82:].any()
    assert not crop_HW3[:, :2].any()


@pytest.mark.parametrize("size", [(1, 1), (3, 2000), (2000, 3)])
@pytest.mark.parametrize("box", [(0, 0, 0, 0), (0, 0, 1, 1), (1990, 1990, 2000, 2000), (0, 0, 1000, 1000)])
def test_odd_boxes_and_pictures_give_a_square(size: tuple[int, int], box: tuple[int, ...]) -> None:
    crop = square(Image.new("RGB", size), np.array(box, np.float32))
    assert crop.width == crop.height >= 1


def test_a_large_face_is_no_decompression_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert square(Image.new("RGB", (20, 8)), np.array([0, 0, 20, 8], np.float32)).size == (28, 28)


@pytest.mark.parametrize("mirrored", [1, -1])
def test_no_other_turn_scale_and_shift_comes_nearer(mirrored: int) -> None:
    random = np.random.default_rng(1)
    points_52 = TEMPLATE_52 * [mirrored, 1] + random.normal(scale=5, size=(5, 2))

    def missed(forth_33: np.ndarray) -> float:
        return float(((points_52 @ forth_33[:2, :2].T + forth_33[:2, 2] - TEMPLATE_52) ** 2).sum())

    forth_33 = similarity(points_52, TEMPLATE_52)
    (a, minus_b), (b, d) = forth_33[:2, :2]
    assert (a, b) == pytest.approx((d, -minus_b))  # a turn and a scale, and no mirror image
    for _ in range(50):
        turn_a, turn_b, x, y = random.normal(scale=0.01, size=4)
        other_33 = forth_33 + np.array([[turn_a, -turn_b, x], [turn_b, turn_a, y], [0, 0, 0]])
        assert missed(forth_33) < missed(other_33)


@pytest.mark.parametrize(("scale", "degrees"), [(0.7, 33), (1, 0), (1, 180), (2, -90), (10, 70)])
def test_landmarks_come_to_lie_on_the_template(scale: float, degrees: float) -> None:
    side = int(170 * scale) + 40
    points_52 = turned(TEMPLATE_52 + 0.5, scale, degrees, side / 2 + 0.3)
    y_HW, x_HW = np.mgrid[:side, :side] + 0.5
    spread = 2 * (2.5 * scale) ** 2
    dots_HW = sum(np.exp(-((x_HW - x) ** 2 + (y_HW - y) ** 2) / spread) for x, y in points_52)
    found_HW = np.asarray(aligned(grey(250 * np.clip(dots_HW, 0, 1)), points_52))[..., 0].astype(float)
    rows_HW, columns_HW = np.mgrid[:SIDE, :SIDE]
    for x, y in TEMPLATE_52:
        weight_HW = found_HW * (np.hypot(columns_HW - x, rows_HW - y) < 8)
        middle = (weight_HW * columns_HW).sum() / weight_HW.sum(), (weight_HW * rows_HW).sum() / weight_HW.sum()
        assert middle == pytest.approx((x, y), abs=0.2)


@pytest.mark.parametrize("scale", [1.7, 5])
@pytest.mark.parametrize("degrees", [0, 17, 45])
def test_stripes_that_are_too_fine_for_the_crop_leave_no_others(scale: float, degrees: float) -> None:
    side = int(170 * scale)
    y_HW, x_HW = np.mgrid[:side, :side]
    along_HW = np.cos(np.radians(degrees)) * x_HW + np.sin(np.radians(degrees)) * y_HW

    def contrast(stripes_a_pixel: float) -> float:
        picture = grey(127.5 + 100 * np.sin(2 * np.pi * stripes_a_pixel / scale * along_HW))
        crop_HW = np.asarray(aligned(picture, turned(TEMPLATE_52 + 0.5, scale, degrees, side / 2)))[8:-8, 8:-8, 0]
        return float(crop_HW.astype(float).std() * 2**0.5 / 100)

    assert contrast(0.25) > 0.95
    assert max(contrast(0.75), contrast(0.8)) < 0.05


def test_landmarks_in_one_point_are_refused_and_those_outside_give_black() -> None:
    with pytest.raises(ValueError, match="in one point"):
        aligned(Image.new("RGB", (50, 50), "white"), np.full((5, 2), 20.0))
    assert not np.asarray(aligned(Image.new("RGB", (50, 50), "white"), TEMPLATE_52 + 5000)).any()


def test_crops_carry_no_metadata(tmp_path: Path) -> None:
    image = Image.new("RGB", (100, 100), "red")
    image.info |= {"icc_profile": b"profile", "comment": b"secret", "dpi": (72, 72)}
    crops.write(image, BOX_14, tmp_path / "square")
    crops.write(image, BOX_14, tmp_path / "aligned", landmarks_N52=TEMPLATE_52[None])
    for folder, side in (("square", 84), ("aligned", 112)):
        with Image.open(tmp_path / folder / "1.png") as crop:
            assert (crop.size, crop.info) == ((side, side), {})


def test_crops_of_a_photograph_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    image = Image.new("RGB", (100, 100), "red")
    folder = tmp_path / "in" / "a.jpg"
    boxes_24 = np.concatenate([BOX_14, BOX_14 + 5])
    one_point_252 = np.stack([TEMPLATE_52, np.full((5, 2), 20.0)])
    with pytest.raises(ValueError, match="in one point"):
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
    assert not crops.write(image, BOX_14[:0], folder, overwrite=True)  # what is left of another run would be no crop
    assert list(tmp_path.iterdir()) == []
    folder.mkdir()
    (folder / "holiday.jpg").write_bytes(b"mine")
    for boxes_N4 in (BOX_14, BOX_14[:0]):
        with pytest.raises(OSError, match="left as it is"):
            crops.write(image, boxes_N4, folder, overwrite=True)
    assert (folder / "holiday.jpg").read_bytes() == b"mine"
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(OSError, match="left as it is"):
        crops.write(image, BOX_14, tmp_path / "link", overwrite=True)


def test_each_page_has_a_folder_of_its_own() -> None:
    assert crops.folder_of(Path("out/a.tif"), None) == Path("out/a.tif")
    assert crops.folder_of(Path("out/a.tif"), Part("page", 2, 3)) == Path("out/a.tif.2")


def test_crops_keep_the_tree_and_the_record_names_them(mlcycle: Run, album: Path, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("infer", "dir", album, "--model", tiny, "--crops", out, "--format", "jsonl")
    outcome = mlcycle(*arguments)
    assert outcome.code == 3  # one photograph is broken
    assert f"cut out in {out}" in outcome.err
    named = {each["input"]: each["crops"] for each in map(json.loads, outcome.out.splitlines())}
    assert named == {
        "broken.jpg": None,
        "inside/two.png": [f"{out}/inside/two.png/1.png", f"{out}/inside/two.png/2.png"],
        "none.jpg": None,
        "one.jpg": [f"{out}/one.jpg/1.png"],
    }
    files = sorted(str(path) for path in out.rglob("*") if path.is_file())
    assert files == sorted(name for names in named.values() for name in names or ())
    with Image.open(album / "one.jpg") as photograph, Image.open(out / "one.jpg" / "1.png") as crop:
        left, top = (300 + 380 - crop.width) // 2, (40 + 150 - crop.height) // 2
        assert crop.size == (154, 154)
        assert (np.asarray(crop) == np.asarray(photograph)[top : top + 154, left : left + 154]).all()
    refused = mlcycle(*arguments)
    assert (refused.code, refused.out) == (3, "")
    assert "cropped copies 2 exist already" in refused.err
    assert mlcycle(*arguments, "--overwrite").out.count("/1.png") == 2


def test_crops_never_take_the_place_of_the_photograph(mlcycle: Run, album: Path, tiny: Path) -> None:
    before = (album / "one.jpg").read_bytes()
    outcome = mlcycle("infer", album / "one.jpg", "--model", tiny, "--crops", album, "--overwrite")
    assert outcome.code == 3
    assert (album / "one.jpg").read_bytes() == before


def test_a_folder_that_is_in_the_way_is_said_in_the_record(
    mlcycle: Run, album: Path, tiny: Path, tmp_path: Path
) -> None:
    (tmp_path / "one.jpg").mkdir()
    (tmp_path / "one.jpg" / "mine.txt").write_text("mine")
    outcome = mlcycle(
        "infer", album / "one.jpg", "--model", tiny, "--crops", tmp_path, "--overwrite", "--format", "json"
    )
    (record,) = json.loads(outcome.out)["records"]
    assert (outcome.code, record["error"]["code"], record["crops"], len(record["faces"])) == (3, "not-written", None, 1)


def test_a_real_face_is_aligned_by_its_landmarks(mlcycle: Run, astronaut: Path, tmp_path: Path) -> None:
    outcome = mlcycle("infer", astronaut, "--crops", tmp_path / "out", "--align", "--format", "json")
    (record,) = json.loads(outcome.out)["records"]
    (path,) = record["crops"]
    points_52 = np.array(list(record["faces"][0]["landmarks"].values()))
    forth_33 = similarity(points_52, TEMPLATE_52)
    missed_5 = np.hypot(*(points_52 @ forth_33[:2, :2].T + forth_33[:2, 2] - TEMPLATE_52).T)
    assert missed_5.max() < 5  # no face is the template; this one is broader than high
    with Image.open(path) as crop, Image.open(astronaut) as photograph:
        crop_HW3, photograph_HW3 = np.asarray(crop).astype(float), np.asarray(photograph).astype(float)
    assert crop_HW3.shape == (SIDE, SIDE, 3)
    # Each pixel of the crop against the one of the photograph in which its middle lies: the scale is nearly 1 here.
    rows_HW, columns_HW = np.mgrid[:SIDE, :SIDE]
    places_3P = np.stack([columns_HW.ravel(), rows_HW.ravel(), np.ones(SIDE * SIDE)])
    x_P, y_P = np.floor(np.linalg.inv(forth_33) @ places_3P)[:2].astype(int)
    assert np.abs(crop_HW3.reshape(-1, 3) - photograph_HW3[y_P, x_P]).mean() < 8


def test_what_cannot_be_aligned_is_said_before_anything_is_written(mlcycle: Run, album: Path, tmp_path: Path) -> None:
    plain = write_tiny_model(tmp_path / "plain.onnx", landmarks=False)
    arguments = ("infer", album / "one.jpg", "--model", plain, "--align")
    outcome = mlcycle(*arguments, "--crops", tmp_path / "out")
    assert (outcome.code, outcome.out, (tmp_path / "out").exists()) == (2, "", False)
    assert "needs the five landmarks" in outcome.err
    outcome = mlcycle(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert "--crops" in outcome.err
