"""Crops: labels move with the pixels, whether these come from the file or from the decoded cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mlcycle.datasets.labelled_image import LabelledImage  # noqa: E402
from mlcycle.errors import DataError  # noqa: E402
from mlcycle.training.data.crop import ImageFile, Sample, cut, expose, occlude  # noqa: E402
from mlcycle.training.data.decoded_cache import decode_all  # noqa: E402
from mlcycle.training.recipes.recipe import Augment  # noqa: E402

pytestmark = pytest.mark.training
pytest_plugins = ("marked_image",)

NOTHING = np.zeros((0, 5, 2), np.float32)


def cut_file(image: LabelledImage, rule: Augment, number: int) -> Sample:
    return cut(image, ImageFile(image.path), rule, rule.crop, np.random.default_rng(number))


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("zoom", [(0.15, 0.45), (0.5, 1.5)])
@pytest.mark.parametrize("is_decoded", [False, True])
def test_the_box_stays_on_its_pixels(
    marked: dict[int, LabelledImage], orientation: int, zoom: tuple[float, float], is_decoded: bool, tmp_path: Path
) -> None:
    image = marked[orientation]
    decoded = decode_all(tmp_path, [image.path], lambda done, images: None)
    source = decoded[image.path] if is_decoded else ImageFile(image.path)
    rule = Augment(crop=160, zoom=zoom, on_face=1.0, face_size=(20.0, 100.0))
    checked = 0
    for number in range(40):
        sample = cut(image, source, rule, rule.crop, np.random.default_rng(number))
        red = (sample.pixels_SS3[..., 0] > 170) & (sample.pixels_SS3[..., 1] < 90)
        for x1, y1, x2, y2 in sample.faces_N4:
            rows, columns = np.where(red)
            found = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            # At zoom 0.15 a JPEG is decoded at 1/8, where one decoded pixel covers more than one pixel of the crop.
            assert np.abs(found - (x1, y1, x2, y2)).max() <= 2.0
            checked += 1
    assert checked >= 20


def test_mirroring_swaps_left_and_right_points(marked: dict[int, LabelledImage]) -> None:
    always = Augment(crop=160, zoom=(0.4, 0.4), on_face=1.0, flip=1.0)
    whole = 0
    for number in range(20):
        sample = cut_file(marked[1], always, number)
        for (left, right, *_), box in zip(sample.landmarks_N52, sample.faces_N4, strict=True):
            assert left[0] < right[0]
            if box[0] > 0 and box[2] < 160:  # not clipped
                assert left[0] == pytest.approx(box[0], abs=0.01)
                assert right[0] == pytest.approx(box[2], abs=0.01)
                whole += 1
    assert whole > 5


def test_half_of_the_crops_around_a_face_bring_it_to_a_random_size(marked: dict[int, LabelledImage]) -> None:
    rule = Augment(crop=160, zoom=(0.2, 1.5), on_face=1.0, face_size=(40.0, 41.0))
    image = marked[1]
    side = np.sqrt((image.boxes_N4[0, 2:] - image.boxes_N4[0, :2]).prod())
    assert 40 / side > 0.2
    sizes = [np.sqrt((face[2:] - face[:2]).prod()) for n in range(200) for face in cut_file(image, rule, n).faces_N4]
    drawn = sum(39.5 <= size <= 41.5 for size in sizes)
    assert 70 <= drawn <= 130
    assert max(sizes) > 60


def test_small_and_cut_off_faces_are_ignored_not_background(marked: dict[int, LabelledImage]) -> None:
    tiny = Augment(crop=160, zoom=(0.1, 0.1), on_face=0.0, smallest_face=60.0)
    sample = cut_file(marked[1], tiny, 0)
    assert len(sample.faces_N4) == 0
    assert len(sample.ignored_I4) == 1


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 this is not an image")
    image = LabelledImage(broken, "broken.jpg", np.zeros((0, 4), np.float32), np.zeros(0, bool), NOTHING)
    with pytest.raises(DataError, match=r"broken\.jpg"):
        cut_file(image, Augment(crop=96), 0)


def test_a_rotated_face_stays_within_its_box(marked: dict[int, LabelledImage]) -> None:
    rule = Augment(crop=160, zoom=(0.4, 0.4), on_face=1.0, rotate=1.0, angle=40.0, flip=0.0)
    checked = 0
    for number in range(20):
        sample = cut_file(marked[1], rule, number)
        red = (sample.pixels_SS3[..., 0] > 170) & (sample.pixels_SS3[..., 1] < 90)
        for box, points in zip(sample.faces_N4, sample.landmarks_N52, strict=True):
            if box.min() <= 0 or box.max() >= 160:
                continue  # clipped
            checked += 1
            rows, columns = np.where(red)
            middle = np.array([columns.mean(), rows.mean()]) + 0.5
            assert np.abs((box[:2] + box[2:]) / 2 - middle).max() < 1.0
            # The marked rectangle's upper corners, its first two points, rotate with it.
            side = points[1] - points[0]
            assert np.hypot(*side) == pytest.approx(40, abs=0.5)
            corner = points[0] + 0.1 * (middle - points[0])
            assert red[int(corner[1]), int(corner[0])]
            outside = points[0] - 0.1 * (middle - points[0])
            if (outside >= 0).all() and (outside < 160).all():
                assert not red[int(outside[1]), int(outside[0])]
    assert checked >= 5


def test_exposure_makes_a_crop_darker_or_brighter_and_leaves_black_and_white(
    marked: dict[int, LabelledImage],
) -> None:
    plain = Augment(crop=160, zoom=(0.4, 0.4), on_face=1.0)
    means = []
    for number in range(20):
        one, other = (cut_file(marked[1], rule, number) for rule in (plain, plain.model_copy(update={"exposure": 1.0})))
        assert np.array_equal(one.faces_N4, other.faces_N4)
        means.append(float(other.pixels_SS3.mean()) - float(one.pixels_SS3.mean()))
    assert min(means) < -10 < 10 < max(means)
    ramp = np.arange(256, dtype=np.uint8)
    assert expose(ramp, 1.0).tolist() == ramp.tolist()
    assert expose(ramp, 2.0)[[0, 128, 255]].tolist() == [0, 64, 255]


def test_occlusion_covers_part_of_a_face_with_background_of_the_crop() -> None:
    image = np.zeros((160, 160, 3), np.uint8)
    image[...] = np.arange(160, dtype=np.uint8)[:, None]  # background: 0 to 159
    image[40:100, 50:100] = 200
    image[110:120, 20:30] = 250
    boxes = np.array([[50.0, 40.0, 100.0, 100.0], [20.0, 110.0, 30.0, 120.0], [150.0, -20.0, 400.0, 300.0]])
    shares = []
    for number in range(60):
        covered = occlude(image, boxes, 1.0, np.random.default_rng(number))
        assert (covered[110:120, 20:30] == 250).all(), "too small to be covered"
        changed = (covered != image).any(axis=2)
        changed[:, 150:] = False  # the third face reaches beyond the crop
        assert not changed[:, :50].any()
        assert not changed[:40].any()
        assert not changed[100:].any()
        assert (covered[40:100, 50:100][changed[40:100, 50:100]] < 160).all(), "background, and no part of a face"
        shares.append(float(changed.sum()) / (60 * 50))
    assert sum(share > 0 for share in shares) > 40
    assert min(share for share in shares if share) > 0.05
    assert max(shares) < 0.65
    assert occlude(image, boxes, 0.0, np.random.default_rng(1)).tolist() == image.tolist()


def test_jpeg_compression_changes_pixels_but_no_label(marked: dict[int, LabelledImage]) -> None:
    plain, packed = (cut_file(marked[1], Augment(crop=160, jpeg=share), 4) for share in (0.0, 1.0))
    assert np.array_equal(plain.faces_N4, packed.faces_N4)
    difference = np.abs(plain.pixels_SS3.astype(int) - packed.pixels_SS3)
    assert 0.5 < difference.mean() < 12
