from __future__ import annotations

import json

import numpy as np
import pytest
from small_sets import coco_content, coffee, content, save

from mlcycle.datasets.reading import read, splits
from mlcycle.errors import DataError


def _one(**annotation):
    box = {"image_id": 7, "category_id": 1, "bbox": [1, 2, 30, 40], **annotation}
    return {
        "images": [{"id": 7, "file_name": "x.jpg"}],
        "annotations": [box],
        "categories": [{"id": 1, "name": "face"}],
    }


def _read(folder, labels):
    (folder / "labels.json").write_text(json.dumps(labels))
    return read(folder / "labels.json")


@pytest.mark.parametrize(("key", "ignored"), [({"iscrowd": 1}, True), ({"ignore": 1}, True), ({"iscrowd": 0}, False)])
def test_crowds_and_ignored_annotations_become_boxes_to_be_ignored(tmp_path, key, ignored):
    (image,) = _read(tmp_path, _one(**key))
    assert image.ignore_N.tolist() == [ignored]
    assert image.boxes_N4.tolist() == [[1, 2, 31, 42]]
    assert image.size is None


def test_an_unlabelled_keypoint_is_nan(tmp_path):
    (image,) = _read(tmp_path, _one(keypoints=[3, 4, 2, 0, 0, 0, 5, 6, 1, 7, 8, 2, 9, 10, 2]))
    assert np.isnan(image.landmarks_N52[0, 1]).all()
    assert image.landmarks_N52[0, [0, 2]].tolist() == [[3, 4], [5, 6]]


def test_keypoints_other_than_five_are_left_out(tmp_path):
    (image,) = _read(tmp_path, _one(keypoints=[1, 1, 2] * 17))
    assert np.isnan(image.landmarks_N52).all()


def test_only_the_category_called_face_is_read(tmp_path):
    labels = _one()
    labels["annotations"].append({"image_id": 7, "category_id": 2, "bbox": [0, 0, 5, 5]})
    labels["categories"].append({"id": 2, "name": "plate"})
    (image,) = _read(tmp_path, labels)
    assert len(image.boxes_N4) == 1
    labels["categories"][0]["name"] = "person"
    with pytest.raises(DataError, match="none is called face: person, plate"):
        _read(tmp_path, labels)


@pytest.mark.parametrize(
    ("categories", "annotated", "expected"),
    [
        ([{"id": 1, "name": "face"}, {"id": 4, "name": "plate"}], 1, 1),
        ([{"id": 0, "name": "head"}], 0, 0),
        ([{"id": 5, "name": "head"}], 9, 9),  # of a file with one category, all annotations count as faces
        ([], 0, 0),
        ([{"id": 5, "name": "head"}], None, 5),
        ([], None, 1),
    ],
)
def test_coco_ids_are_those_of_the_annotations(tmp_path, categories, annotated, expected):
    labels = _one(image_id=0, category_id=annotated) | {"categories": categories}
    labels["images"][0]["id"] = 0
    if annotated is None:
        labels["annotations"] = []
    assert _read(tmp_path, labels)[0].coco_ids == (0, expected)


def test_a_single_category_is_a_face_whatever_its_name(tmp_path):
    labels = _one()
    labels["categories"][0]["name"] = "head"
    assert len(_read(tmp_path, labels)[0].boxes_N4) == 1


@pytest.mark.parametrize("place", ["images", "images/val", "images/val2017", "val2017", "."])
def test_images_are_found_in_the_usual_folders(tmp_path, place):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_val2017.json").write_text(json.dumps(_one()))
    save(coffee(), tmp_path / place / "x.jpg")
    assert splits(tmp_path) == ["val"]
    (image,) = read(tmp_path, "val")
    assert image.path.is_file()


def test_each_json_of_annotations_is_a_split(tmp_path):
    (tmp_path / "annotations").mkdir()
    for name, images in (("train", content()[:3]), ("val", content()[3:])):
        (tmp_path / "annotations" / f"{name}.json").write_text(json.dumps(coco_content(images)))
    assert [len(read(tmp_path, split)) for split in ("train", "val")] == [3, 2]
    with pytest.raises(DataError, match="no split test") as caught:
        read(tmp_path, "test")
    assert "train, val" in caught.value.hint


def test_a_folder_with_a_json_in_each_split(tmp_path):
    for split in ("train", "valid"):
        save(coffee(), tmp_path / split / "x.jpg")
        (tmp_path / split / "_annotations.coco.json").write_text(json.dumps(_one()))
    assert splits(tmp_path) == ["train", "valid"]
    assert read(tmp_path, "valid")[0].path == tmp_path / "valid" / "x.jpg"


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"images": []}',
        json.dumps(_one(bbox=[1, 2, 3])),
        json.dumps(_one(bbox="wide")),
        json.dumps(_one(bbox=None)),
        json.dumps(_one() | {"categories": ["face"]}),
        json.dumps(_one() | {"images": 2 * _one()["images"]}),
        "[" * 100_000,
    ],
)
def test_an_invalid_coco_json_is_a_data_error(tmp_path, text):
    (tmp_path / "labels.json").write_text(text)
    with pytest.raises(DataError):
        read(tmp_path / "labels.json")


def test_a_missing_key_is_named(tmp_path):
    labels = _one()
    del labels["annotations"][0]["image_id"]
    with pytest.raises(DataError, match="lacks 'image_id'"):
        _read(tmp_path, labels)
