"""The images that the demo's model has trouble with: where their faces are, and what is said of the detections."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("skimage")
pytest.importorskip("matplotlib")

from mlcycle.demo import limits
from mlcycle.demo.limits import Limit, LimitResult, write_limits
from mlcycle.demo.source_images import UNSEEN, package_folder

FACE = (10.0, 10.0, 30.0, 30.0)
OTHER = (50.0, 10.0, 70.0, 30.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("limits")
    write_limits(folder)
    return folder


def test_all_faces_are_inside_their_images(folder: Path) -> None:
    for limit in write_limits(folder):
        with Image.open(folder / limit.name) as image:
            for x1, y1, x2, y2 in limit.boxes:
                assert 0 <= x1 < x2 <= image.width
                assert 0 <= y1 < y2 <= image.height


def test_boxes_move_with_the_faces(folder: Path) -> None:
    """The face inside a box is that of the original, only smaller or turned back."""
    x1, y1, x2, y2 = limits.HOPPER.box_4
    with Image.open(package_folder(UNSEEN[1].package) / UNSEEN[1].path) as file:
        original = file.convert("L").crop((x1, y1, x2, y2)).resize((16, 16))
    by_name = {each.name: each for each in write_limits(folder)}
    for name, box_4, degrees in (
        ("far.jpg", by_name["far.jpg"].boxes[0], 0),
        ("group.jpg", by_name["group.jpg"].boxes[1], 0),
        ("tilted.jpg", by_name["tilted.jpg"].boxes[0], limits.DEGREES),
    ):
        with Image.open(folder / name) as file:
            middle = (box_4[0] + box_4[2]) / 2, (box_4[1] + box_4[3]) / 2
            upright = file.convert("L").rotate(-degrees, Image.Resampling.BICUBIC, center=middle)
        face = upright.resize((16, 16), box=box_4)
        assert np.corrcoef(np.ravel(face), np.ravel(original))[0, 1] > 0.9, name


def test_images_are_written_once(folder: Path) -> None:
    times = {each.name: each.stat().st_mtime_ns for each in folder.iterdir()}
    write_limits(folder)
    assert {each.name: each.stat().st_mtime_ns for each in folder.iterdir()} == times


@pytest.mark.parametrize(
    ("faces", "found", "is_right", "verdict"),
    [
        ([FACE], [FACE], True, "The face was found."),
        ([FACE], [], False, "The face was not found."),
        ([FACE], [OTHER], False, "The face was not found, and 1 false alarm."),
        ([FACE], [FACE, OTHER], False, "The face was found, and 1 false alarm."),
        ([FACE, OTHER], [OTHER], False, "1 of 2 faces were found."),
        ([FACE, OTHER], [OTHER, FACE], True, "2 of 2 faces were found."),
    ],
)
def test_verdict_counts_faces_and_false_alarms(faces: list, found: list, is_right: bool, verdict: str) -> None:
    result = LimitResult(Limit("a.jpg", tuple(faces), "faces"), tuple(found))
    assert result.is_right is is_right
    assert result.verdict == verdict
