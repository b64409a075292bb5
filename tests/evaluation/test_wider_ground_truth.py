"""Reading the official .mat files, as MATLAB nests them."""

from __future__ import annotations

import numpy as np
import pytest

from mlcycle.errors import DataError
from mlcycle.evaluation import wider_ground_truth

scipy_io = pytest.importorskip("scipy.io")

BOXES = {"1--Two": [("1_Two_a", [[10, 20, 30, 40], [5, 6, 7, 8]]), ("1_Two_b", [[1, 2, 3, 4]])], "2--One": [("c", [])]}
COUNTED = {"easy": [[[1], []], [[]]], "medium": [[[1, 2], []], [[]]], "hard": [[[2], [1]], [[]]]}


def cells(values):
    """A column of cells, MATLAB's container for arrays of different sizes."""
    column = np.empty((len(values), 1), object)
    for place, value in enumerate(values):
        column[place, 0] = value
    return column


def write(folder, counted=COUNTED):
    folder.mkdir(exist_ok=True)
    content = {
        "event_list": cells(list(BOXES)),
        "file_list": cells([cells([name for name, _ in images]) for images in BOXES.values()]),
        "face_bbx_list": cells(
            [cells([np.array(boxes, np.int32).reshape(-1, 4) for _, boxes in each]) for each in BOXES.values()]
        ),
    }
    scipy_io.savemat(folder / "wider_face_val.mat", content)
    for level, events in counted.items():
        lists = cells([cells([np.array(each, np.uint8).reshape(-1, 1) for each in event]) for event in events])
        scipy_io.savemat(folder / f"wider_{level}_val.mat", content | {"gt_list": lists})
    return folder


def test_faces_and_levels_are_read_by_event_and_stem(tmp_path):
    official = wider_ground_truth.read(write(tmp_path))
    assert list(official) == ["1--Two/1_Two_a", "1--Two/1_Two_b", "2--One/c"]
    two = official["1--Two/1_Two_a"]
    assert two.boxes_N4.tolist() == [[10, 20, 40, 60], [5, 6, 12, 14]]
    assert {level: marks.tolist() for level, marks in two.counted.items()} == {
        "easy": [True, False],
        "medium": [True, True],
        "hard": [False, True],
    }
    assert official["1--Two/1_Two_b"].counted["hard"].tolist() == [True]
    assert official["2--One/c"].boxes_N4.shape == (0, 4)


def test_all_four_files_are_required(tmp_path):
    assert wider_ground_truth.is_here(write(tmp_path))
    (tmp_path / "wider_hard_val.mat").unlink()
    assert not wider_ground_truth.is_here(tmp_path)
    with pytest.raises(DataError, match=r"wider_hard_val\.mat does not exist"):
        wider_ground_truth.read(tmp_path)


def test_damaged_file_is_named(tmp_path):
    path = write(tmp_path) / "wider_easy_val.mat"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"wider_easy_val\.mat"):
        wider_ground_truth.read(tmp_path)


def test_other_mat_file_is_refused(tmp_path):
    scipy_io.savemat(write(tmp_path) / "wider_medium_val.mat", {"something": np.ones(3)})
    with pytest.raises(DataError, match="lacks the lists"):
        wider_ground_truth.read(tmp_path)


def test_levels_of_another_set_are_refused(tmp_path):
    beyond = COUNTED | {"easy": [[[9], []], [[]]]}
    with pytest.raises(DataError, match="do not match"):
        wider_ground_truth.read(write(tmp_path, beyond))
