from __future__ import annotations

import numpy as np
import pytest
from small_sets import Labelled, astronaut, chelsea, content, save, write_wider

from mlcycle.datasets.reading import read
from mlcycle.errors import DataError


def _labels(folder, text, split="train"):
    place = folder / "wider_face_split"
    place.mkdir(exist_ok=True)
    (place / f"wider_face_{split}_bbx_gt.txt").write_text(text)
    return folder


def test_invalid_faces_and_those_without_width_or_height_are_ignored(tmp_path):
    rows = ["1 2 30 40 0 0 0 0 0 0", "5 6 30 40 2 0 0 1 0 0", "7 8 0 40 0 0 0 0 0 0", "7 8 30 0 0 0 0 0 0 0"]
    (image,) = read(_labels(tmp_path, "0--Parade/x.jpg\n4\n" + " \n".join(rows)))
    assert image.ignore_N.tolist() == [False, True, True, True]
    assert image.boxes_N4[0].tolist() == [1, 2, 31, 42]
    assert image.group == "0--Parade"
    assert image.path == tmp_path / "WIDER_train" / "images" / "0--Parade" / "x.jpg"


@pytest.mark.parametrize("zeros", ["0 0 0 0 0 0 0 0 0 0 \n", ""])
def test_images_without_faces_with_and_without_a_row_of_zeros(tmp_path, zeros):
    text = f"e/a.jpg\n0\n{zeros}e/b.jpg\n1\n1 2 3 4 0 0 0 0 0 0\ne/c.jpg\n0\n{zeros}"
    images = read(_labels(tmp_path, text))
    assert [(image.name, len(image.boxes_N4)) for image in images] == [
        ("e/a.jpg", 0),
        ("e/b.jpg", 1),
        ("e/c.jpg", 0),
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("e/a.jpg\n2\n1 2 3 4 0 0 0 0 0 0\ne/b.jpg\n", 4),
        ("e/a.jpg\n1\n1 2 3 x 0 0 0 0 0 0\n", 3),
        ("e/a.jpg\ne/b.jpg\n", 2),
        ("e/a.jpg\n3\n1 2 3 4 0 0 0 0 0 0\n", 4),
        ("e/a.jpg\n²\n1 2 3 4 0 0 0 0 0 0\n", 2),
    ],
)
def test_the_error_names_the_invalid_line(tmp_path, text, line):
    with pytest.raises(DataError, match=f"line {line}:"):
        read(_labels(tmp_path, text))


@pytest.mark.parametrize("box", ["10 20 40 60", "10 20 30 40"])
def test_landmarks_are_matched_by_both_styles_of_box(tmp_path, box):
    _labels(tmp_path, "e/a.jpg\n2\n50 60 30 40 0 0 0 0 0 0\n10 20 30 40 0 0 0 0 0 0\n")
    points = "11 21 0.0 31 21 1.0 -1 -1 -1 12 50 0.0 30 50 0.0"
    (tmp_path / "wider_face_split" / "label.txt").write_text(f"# e/a.jpg\n{box} {points} 0.9\n")
    (image,) = read(tmp_path)
    assert np.isnan(image.landmarks_N52[0]).all()
    assert image.landmarks_N52[1, [0, 1, 3]].tolist() == [[11, 21], [31, 21], [12, 50]]
    assert np.isnan(image.landmarks_N52[1, 2]).all()


def test_duplicate_and_nested_boxes_have_their_own_landmarks(tmp_path):
    rows = ["10 20 30 40", "10 20 30 40", "10 20 40 60"]
    _labels(tmp_path, "e/a.jpg\n3\n" + "".join(f"{row} 0 0 0 0 0 0\n" for row in rows))
    triples = ["11 21 0 " * 5, "-1 -1 -1 " * 5, "12 22 0 " * 5]
    points = "".join(f"{row} {triple}\n" for row, triple in zip(rows, triples, strict=True))
    (tmp_path / "wider_face_split" / "landmarks.txt").write_text(f"# e/a.jpg\n{points}")
    (image,) = read(tmp_path)
    np.testing.assert_array_equal(image.landmarks_N52[:, 0], [[11, 21], [np.nan, np.nan], [12, 22]])


def test_a_byte_order_mark_is_skipped_and_a_folder_without_labels_exits_3(tmp_path, mlcycle):
    _labels(tmp_path, "\ufeffe/a.jpg\n0\n")
    assert read(tmp_path)[0].name == "e/a.jpg"
    (tmp_path / "wider_face_split" / "wider_face_train_bbx_gt.txt").unlink()
    assert mlcycle("data", "check", tmp_path).code == 3


def _portrait(width, height):
    """An image of a face, resized to this size."""
    return astronaut().resize((width, height))


def test_labels_are_scaled_to_a_copy_smaller_than_the_stated_size(tmp_path):
    image = Labelled("a/x.jpg", _portrait(512, 512), ((178, 75, 92, 116),), {0: np.full((5, 2), 100.0)})
    write_wider(tmp_path, [image])
    save(_portrait(256, 256), tmp_path / "WIDER_train" / "images" / image.name)
    (labelled,) = read(tmp_path)
    assert labelled.boxes_N4[0].tolist() == [89, 37.5, 135, 95.5]
    assert labelled.landmarks_N52[0].tolist() == [[50, 50]] * 5


def test_an_official_portrait_shrunk_to_a_height_of_1024_has_its_labels_scaled(tmp_path):
    name = "1--Handshaking/1_Handshaking_Handshaking_1_203.jpg"
    text = f"{name}\n1\n900 1000 100 120 0 0 0 0 0 0\n"
    save(_portrait(512, 1024), tmp_path / "WIDER_train" / "images" / name)
    (image,) = read(_labels(tmp_path, text))
    assert image.boxes_N4[0].tolist() == [450, 500, 500, 560]


@pytest.mark.parametrize("size", [(1024, 700), (1024, 1500), (512, 512), (800, 600)])
def test_other_images_keep_their_labels(tmp_path, size):
    name = "1--Handshaking/1_Handshaking_Handshaking_1_203.jpg"
    save(_portrait(*size), tmp_path / "WIDER_train" / "images" / name)
    (image,) = read(_labels(tmp_path, f"{name}\n1\n90 100 100 120 0 0 0 0 0 0\n"))
    assert image.boxes_N4[0].tolist() == [90, 100, 190, 220]


def test_another_image_under_the_same_name_keeps_its_labels(tmp_path):
    write_wider(tmp_path, content()[:1])
    save(chelsea(), tmp_path / "WIDER_train" / "images" / content()[0].name)
    (image,) = read(tmp_path)
    assert image.boxes_N4[0].tolist() == [178, 75, 270, 190]
