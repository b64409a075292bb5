"""`mlcycle data convert` and write_set: labels survive the conversion to another layout."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import yaml
from PIL import Image
from small_sets import (
    Labelled,
    astronaut,
    coco_content,
    coffee,
    content,
    names_in,
    save,
    write_coco,
    write_wider,
    write_yolo,
)

from mlcycle.datasets.reading import read, read_parts, splits
from mlcycle.datasets.writing import write_set
from mlcycle.errors import DataError, InputError


def _convert(mlcycle, source, to, out, *more):
    outcome = mlcycle("data", "convert", source, "--to", to, "--out", out, *more)
    assert (outcome.code, outcome.out) == (0, f"{out}\n"), outcome.err
    return outcome.err


def _assert_same(before, after, *, groups=True):
    assert [each.name for each in before] == [each.name for each in after]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one.boxes_N4, other.boxes_N4)
        np.testing.assert_array_equal(one.ignore_N, other.ignore_N)
        np.testing.assert_array_equal(one.landmarks_N52, other.landmarks_N52)
        assert not groups or one.group == other.group
        assert other.path.read_bytes() == one.path.read_bytes()


def test_conversion_through_all_layouts_keeps_the_labels(tmp_path, mlcycle):
    source = write_wider(tmp_path / "set", content()[:3], "train")
    write_wider(source, content()[3:], "val")
    messages = _convert(mlcycle, source, "coco", tmp_path / "coco")
    assert "blur, expression, illumination, occlusion and pose" in messages
    _convert(mlcycle, tmp_path / "coco", "yolo", tmp_path / "yolo")
    _convert(mlcycle, tmp_path / "yolo", "wider", tmp_path / "again")
    for part in ("train", "val"):
        before = read(source, part)
        _assert_same(before, read(tmp_path / "coco", part))
        _assert_same(before, read(tmp_path / "yolo", part), groups=False)
        _assert_same(before, read(tmp_path / "again", part))
    assert splits(tmp_path / "yolo") == ["train", "val"]
    assert sum(each.boxes_N4.size for each in read(tmp_path / "again", "train")) == 8


def _with_odd_labels(folder):
    """Writes a COCO set with a box to be ignored, fractions of pixels, a group, a score and one point of five."""
    write_coco(folder, content())
    labels = coco_content(content())
    labels["images"][0]["group"] = "space"
    labels["annotations"][0] |= {"bbox": [178.3, 75.1, 92.77, 115.9], "keypoints": [202.25, 113.5, 2] + [0, 0, 0] * 4}
    labels["annotations"][1]["iscrowd"] = 1
    labels["annotations"][2] |= {"score": 0.77, "bbox": [160, 80, 190, 0]}
    (folder / "annotations.json").write_text(json.dumps(labels))
    return folder


def test_coco_keeps_ignored_boxes_fractions_and_groups(tmp_path, mlcycle):
    source = _with_odd_labels(tmp_path / "set")
    _convert(mlcycle, source, "coco", tmp_path / "again")
    _assert_same(read(source), read(tmp_path / "again"))
    written = json.loads((tmp_path / "again" / "annotations.json").read_text())
    assert written["annotations"][0]["bbox"] == pytest.approx([178.3, 75.1, 92.77, 115.9], rel=1e-6)
    assert (written["images"][0]["group"], written["images"][0]["width"]) == ("space", 512)
    assert [each["iscrowd"] for each in written["annotations"]] == [0, 1, 0]


def test_wider_face_keeps_all_but_groups_that_are_not_folders_and_scores(tmp_path, mlcycle):
    source = _with_odd_labels(tmp_path / "set")
    messages = _convert(mlcycle, source, "wider", tmp_path / "wider")
    assert "the groups of 1 images are left out" in messages
    assert "the scores of 1 labels made by a model are left out" in messages
    assert "1 boxes without width or height become boxes to be ignored" in messages
    before = read(source)
    before[3].ignore_N[0] = True
    _assert_same(before, read(tmp_path / "wider"), groups=False)


def test_what_yolo_cannot_hold_is_reported_and_left_out(tmp_path, mlcycle):
    source = _with_odd_labels(tmp_path / "set")
    messages = _convert(mlcycle, source, "yolo", tmp_path / "yolo")
    assert "1 boxes to be ignored are left out" in messages
    (before, *_), (after, *_) = read(source), read(tmp_path / "yolo", "train")
    np.testing.assert_array_equal(after.boxes_N4, before.boxes_N4[:1])
    np.testing.assert_array_equal(after.landmarks_N52, before.landmarks_N52[:1])
    configuration = yaml.safe_load((tmp_path / "yolo" / "data.yaml").read_text())
    assert configuration == {
        "train": "images/train",
        "names": {0: "face"},
        "kpt_shape": [5, 3],
        "flip_idx": [1, 0, 2, 4, 3],
    }
    # An empty label file distinguishes an image without faces from an unlabelled one.
    assert (tmp_path / "yolo" / "labels" / "train" / "b" / "coffee.txt").read_text() == ""


def test_an_exif_rotated_image_is_unchanged_and_its_boxes_stay_upright(tmp_path, mlcycle):
    source = write_coco(tmp_path / "set", [Labelled("x.jpg", coffee(), ((10, 20, 30, 40),))])
    save(coffee(), source / "images" / "x.jpg", orientation=6)
    for to in ("yolo", "wider", "coco"):
        _convert(mlcycle, source, to, tmp_path / to)
        (before,), (after,) = read(source), next(iter(read_parts(tmp_path / to).values()))
        np.testing.assert_allclose(after.boxes_N4, before.boxes_N4, rtol=1e-6)
        assert after.path.read_bytes() == before.path.read_bytes()
    row = (tmp_path / "yolo" / "labels" / "train" / "x.txt").read_text().split()
    assert float(row[1]) == pytest.approx(25 / coffee().height)


def test_labels_of_a_resized_official_image_are_not_scaled_twice(tmp_path, mlcycle):
    name = "1--Handshaking/1_Handshaking_Handshaking_1_203.jpg"
    source = write_wider(tmp_path / "set", [Labelled(name, astronaut(), ((900, 1000, 100, 120),))])
    (source / "wider_face_split" / "landmarks_train.txt").unlink()
    save(astronaut().resize((512, 1024)), source / "WIDER_train" / "images" / name)
    _convert(mlcycle, source, "wider", tmp_path / "again")
    assert read(tmp_path / "again")[0].boxes_N4.tolist() == [[450, 500, 500, 560]]


@pytest.mark.parametrize("to", ["wider", "coco", "yolo"])
def test_names_with_unusual_characters_survive(tmp_path, mlcycle, to):
    names = ["a b/c  d.jpg", "é/ü #1 'x'.jpg", "x%20&y.jpg", "笑 12 13.jpg"]
    source = write_coco(
        tmp_path / "set", [Labelled(name, coffee(), ((10, 20, 30, 40),), {0: np.full((5, 2), 20.0)}) for name in names]
    )
    _convert(mlcycle, source, to, tmp_path / "out")
    (after,) = read_parts(tmp_path / "out").values()
    _assert_same(read(source), after, groups=False)


def test_a_name_that_is_impossible_in_a_layout_is_refused_and_leaves_no_files(tmp_path, mlcycle):
    source = write_coco(tmp_path / "set", [Labelled("a\u2028b.jpg", coffee()), Labelled("c.gif", coffee().quantize())])
    outcome = mlcycle("data", "convert", source, "--to", "wider", "--out", tmp_path / "out")
    assert outcome.code == 3
    assert "one line of UTF-8" in outcome.err
    assert "c.gif" in mlcycle("data", "convert", source, "--to", "yolo", "--out", tmp_path / "out").err
    assert names_in(tmp_path) == ["set"]
    _convert(mlcycle, source, "coco", tmp_path / "out")


def test_an_image_outside_of_the_set_is_not_copied_in(tmp_path, mlcycle):
    save(coffee(), tmp_path / "elsewhere" / "x.jpg")
    source = write_coco(tmp_path / "set", [Labelled("a/y.jpg", coffee())])
    labels = coco_content([Labelled("a/y.jpg", coffee()), Labelled("../../elsewhere/x.jpg", coffee())])
    (source / "annotations.json").write_text(json.dumps(labels))
    outcome = mlcycle("data", "convert", source, "--to", "coco", "--out", tmp_path / "out", "--images", "copy")
    assert outcome.code == 3
    assert "annotations.json names a file outside of the set: ../../elsewhere/x.jpg" in outcome.err
    assert names_in(tmp_path) == ["elsewhere", "set"]


def test_images_that_would_share_a_label_file_are_renamed(tmp_path, mlcycle):
    images = [Labelled("x.jpg", coffee(), ((1, 2, 3, 4),)), Labelled("x.png", astronaut(), ((5, 6, 7, 8),))]
    source = write_coco(tmp_path / "set", images)
    messages = _convert(mlcycle, source, "yolo", tmp_path / "yolo")
    assert "1 image was renamed" in messages
    assert [(each.name, round(float(each.boxes_N4[0, 0]))) for each in read(tmp_path / "yolo")] == [
        ("x-2.png", 5),
        ("x.jpg", 1),
    ]


def test_images_are_linked_copied_or_left_out(tmp_path, mlcycle):
    source = write_yolo(tmp_path / "set", content())
    for images in ("link", "copy", "none"):
        _convert(mlcycle, source, "coco", tmp_path / images, "--images", images)
    place = "images/train/a/astronaut.jpg"
    assert (tmp_path / "link" / place).is_symlink()
    assert not (tmp_path / "copy" / place).is_symlink()
    assert Image.open(tmp_path / "copy" / place).size == (512, 512)
    assert names_in(tmp_path / "none") == ["annotations"]


def test_nothing_is_overwritten_and_a_failure_leaves_no_files(tmp_path, mlcycle):
    source = write_coco(tmp_path / "set", content())
    (tmp_path / "existing").mkdir()
    (tmp_path / "existing" / "kept").write_text("kept")
    outcome = mlcycle("data", "convert", source, "--to", "yolo", "--out", tmp_path / "existing")
    assert outcome.code == 3
    assert "already exists" in outcome.err
    assert (tmp_path / "existing" / "kept").read_text() == "kept"
    (source / "images" / "b" / "rocket.jpg").unlink()
    assert mlcycle("data", "convert", source, "--to", "coco", "--out", tmp_path / "out").code == 3
    assert names_in(tmp_path) == ["existing", "set"]
    # Copying fails half way.
    images = [
        replace(each, path=source / "images") if each.name == "b/grace.jpg" else each for each in read(source)[:4]
    ]
    with pytest.raises((InputError, DataError)):
        write_set({"": images}, "coco", tmp_path / "out", images="copy")
    assert names_in(tmp_path) == ["existing", "set"]


def test_a_box_that_is_not_finite_and_an_unknown_yolo_part_are_refused(tmp_path):
    source = write_coco(tmp_path / "set", content()[:1])
    (image,) = read(source)
    with pytest.raises(DataError, match="YOLO has no split extra"):
        write_set({"extra": [image]}, "yolo", tmp_path / "out")
    broken = replace(image, boxes_N4=np.full_like(image.boxes_N4, np.nan))
    with pytest.raises(DataError, match="is not finite"):
        write_set({"": [broken]}, "coco", tmp_path / "out")
    assert write_set({"valid": [image]}, "yolo", tmp_path / "out") == []
    assert splits(tmp_path / "out") == ["val"]
