from __future__ import annotations

import numpy as np
import pytest
import yaml
from small_sets import astronaut, coffee, content, save, write_yolo

from mlcycle.datasets.reading import read, splits
from mlcycle.errors import DataError


def _set(folder, row, **configuration):
    save(coffee(), folder / "images" / "train" / "x.jpg")
    (folder / "labels" / "train").mkdir(parents=True, exist_ok=True)
    (folder / "labels" / "train" / "x.txt").write_text(row)
    content = {"train": "images/train", "names": ["face"], **configuration}
    (folder / "data.yaml").write_text(yaml.safe_dump(content))
    return folder


def test_shares_become_pixels_of_the_upright_photograph(tmp_path):
    folder = _set(tmp_path, "0 0.5 0.25 0.1 0.2\n")
    save(coffee(), folder / "images" / "train" / "x.jpg", orientation=6)
    (photograph,) = read(folder)
    width, height = coffee().height, coffee().width
    assert photograph.size == (width, height)
    expected = [0.45 * width, 0.15 * height, 0.55 * width, 0.35 * height]
    np.testing.assert_allclose(photograph.boxes_N4[0], expected, rtol=1e-6)


def test_of_several_classes_the_one_called_face_counts(tmp_path):
    row = "0 0.5 0.5 0.1 0.1\n2 0.2 0.2 0.1 0.1\n"
    assert len(read(_set(tmp_path, row, names={0: "plate", 2: "Face"}))[0].boxes_N4) == 1
    with pytest.raises(DataError, match="none is called face: plate, person"):
        read(_set(tmp_path, row, names=["plate", "person"]))


def test_points_of_two_numbers(tmp_path):
    row = "0 0.5 0.5 0.1 0.1 0.4 0.4 0.6 0.4 0 0 0.4 0.6 0.6 0.6\n"
    (photograph,) = read(_set(tmp_path, row, kpt_shape=[5, 2]))
    np.testing.assert_allclose(photograph.landmarks_N52[0, 0], [0.4 * 600, 0.4 * 400], rtol=1e-6)
    assert np.isnan(photograph.landmarks_N52[0, 2]).all()


@pytest.mark.parametrize("row", ["0 0.5 0.5 0.1\n", "0 0.5 0.5 0.1 0.1 0.9\n", "0 0.5 x 0.1 0.1\n", "0 " + "0.1 " * 14])
def test_a_wrong_row_names_its_file_and_line(tmp_path, row):
    with pytest.raises(DataError, match=r"x\.txt, line 2"):
        read(_set(tmp_path, "0 0.5 0.5 0.1 0.1\n" + row))


def test_a_list_of_photographs(tmp_path):
    folder = _set(tmp_path, "0 0.5 0.5 0.1 0.1\n", train="train.txt")
    save(astronaut(), folder / "images" / "train" / "not_listed.jpg")
    (folder / "train.txt").write_text("./images/train/x.jpg\n")
    (photograph,) = read(folder)
    assert (photograph.name, len(photograph.boxes_N4)) == ("images/train/x.jpg", 1)


def test_several_folders_and_a_path_that_lies_elsewhere(tmp_path):
    folder = write_yolo(tmp_path / "set", content()[:1], "one")
    write_yolo(folder, content()[3:], "two")
    (tmp_path / "face.yaml").write_text(
        yaml.safe_dump(
            {"path": str(folder), "train": ["images/one", "images/two"], "names": ["face"], "kpt_shape": [5, 3]}
        )
    )
    assert [photograph.name for photograph in read(tmp_path / "face.yaml")] == [
        "a/astronaut.jpg",
        "b/grace.jpg",
        "b/rocket.jpg",
    ]


def test_an_export_that_was_moved_is_still_found(tmp_path):
    _set(tmp_path, "0 0.5 0.5 0.1 0.1\n", path="/somewhere/else", train="../images/train")
    assert len(read(tmp_path)) == 1


def test_a_folder_that_is_not_there_and_an_unknown_split(tmp_path):
    folder = _set(tmp_path, "0 0.5 0.5 0.1 0.1\n", val="images/val")
    assert splits(folder) == ["train", "val"]
    with pytest.raises(DataError, match="there is no folder or list"):
        read(folder, "val")
    with pytest.raises(DataError, match="no split test"):
        read(folder, "test")


def test_a_labelled_photograph_that_is_no_picture_is_named(tmp_path):
    folder = _set(tmp_path, "0 0.5 0.5 0.1 0.1\n")
    (folder / "images" / "train" / "x.jpg").write_text("not a picture")
    with pytest.raises(DataError, match=r"x\.jpg"):
        read(folder)


@pytest.mark.parametrize("text", ["names: [face]", "- 1", "a: b: c", ""])
def test_a_yaml_that_describes_no_set(tmp_path, text):
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(DataError):
        read(tmp_path)
