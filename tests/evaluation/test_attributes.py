"""Recall by attributes of faces: counts by hand, a difference between groups, and what a file may say."""

from __future__ import annotations

import numpy as np
import pytest

from mlcycle.datasets.attributes import read_attributes
from mlcycle.errors import DataError
from mlcycle.evaluation.attributes import LabelledFaces, by_attribute
from mlcycle.evaluation.matches import match_images

IMAGES = 60
# Every image has two faces, far apart: one of group A, which is always found, and one of group B, found in every third.
BOXES = np.array([[0, 0, 40, 40], [100, 0, 140, 40]], float)


@pytest.fixture(scope="module")
def recalls():
    truths = [(BOXES, np.zeros(2, bool))] * IMAGES
    found = [(BOXES if place % 3 == 0 else BOXES[:1], np.array([0.9, 0.8])[: 2 if place % 3 == 0 else 1])
             for place in range(IMAGES)]  # fmt: skip
    faces = LabelledFaces(
        np.repeat(np.arange(IMAGES), 2),
        np.tile([0, 1], IMAGES),
        {"group": ["A", "B"] * IMAGES, "few": ["x", *["y"] * 30, *[""] * (2 * IMAGES - 31)]},
    )
    matches = match_images(truths, found)
    return lambda threshold: by_attribute(matches, faces, threshold)


def test_recall_and_the_difference_between_groups(recalls) -> None:
    group, few = recalls(0.5)
    assert [(each.value, each.faces) for each in group.values] == [("A", 60), ("B", 60)]
    assert [each.recall for each in group.values] == pytest.approx([1, 1 / 3])
    assert (group.best, group.worst, group.difference) == ("A", "B", pytest.approx(2 / 3))
    assert 0.5 < group.interval.least < 2 / 3 < group.interval.most < 0.85
    assert group.values[0].interval.least == 1
    assert [(each.value, each.faces) for each in few.values] == [("x", 1), ("y", 30)]  # what is not known is left out
    assert few.best == few.worst == ""  # one face is too few for a difference
    assert np.isnan(few.difference)


def test_what_scores_below_the_threshold_is_not_found(recalls) -> None:
    group, _ = recalls(0.85)
    assert [each.recall for each in group.values] == [1, 0]


def test_a_file_of_attributes(tmp_path) -> None:
    path = tmp_path / "faces.csv"
    path.write_text("face,file,skin,age\n3,a/b.jpg,I,\n0,a/b.jpg,II,Adult\n")
    read = read_attributes(path)
    assert read.names == ("skin", "age")
    assert read.values == {("a/b.jpg", 3): {"skin": "I"}, ("a/b.jpg", 0): {"skin": "II", "age": "Adult"}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,skin\na.jpg,I\n", "lacks a column"),
        ("file,face\na.jpg,0\n", "lacks a column"),
        ("", "lacks a column"),
        ("file,face,skin\na.jpg,x,I\n", ":2: the face is 'x'"),
        ("file,face,skin\na.jpg,-1,I\n", ":2: the face is '-1'"),
        ("file,face,skin\na.jpg,1,I\na.jpg,1,II\n", ":3: face 1 of a.jpg is listed twice"),
        ("file,face,skin\na.jpg\n", ":2: the face is ''"),
        (b"\xff\xfe\x00", "is not a CSV file"),
        (None, "cannot be read"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path, text, message: str) -> None:
    path = tmp_path / "faces.csv"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError) as problem:
        read_attributes(path)
    assert message in problem.value.message
