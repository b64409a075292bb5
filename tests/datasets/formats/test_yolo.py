from __future__ import annotations

import numpy as np
import pytest
import yaml
from small_sets import astronaut, coffee, content, save, write_yolo

from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.datasets.reading import read, splits
from mlcycle.datasets.writing import write_set
from mlcycle.errors import DataError


def _set(folder, row, **configuration):
    save(coffee(), folder / "images" / "train" / "x.jpg")
    (folder / "labels" / "train").mkdir(parents=True, exist_ok=True)
    (folder / "labels" / "train" / "x.txt").write_text(row)
    content = {"train": "images/train", "names": ["face"], **configuration}
    (folder / "data.yaml").write_text(yaml.safe_dump(content))
    return folder


def test_relative_coordinates_become_pixels_of_the_upright_image(tmp_path):
    folder = _set(tmp_path, "0 0.5 0.25 0.1 0.2\n")
    save(coffee(), folder / "images" / "train" / "x.jpg", orientation=6)
    (image,) = read(folder)
    width, height = coffee().height, coffee().width
    assert image.size == (width, height)
    expected = [0.45 * width, 0.15 * height, 0.55 * width, 0.35 * height]
    np.testing.assert_allclose(image.boxes_N4[0], expected, rtol=1e-6)


def test_only_the_class_called_face_is_read(tmp_path):
    row = "0 0.5 0.5 0.1 0.1\n2 0.2 0.2 0.1 0.1\n"
    assert len(read(_set(tmp_path, row, names={0: "plate", 2: "Face"}))[0].boxes_N4) == 1
    with pytest.raises(DataError, match="none is called face: plate, person"):
        read(_set(tmp_path, row, names=["plate", "person"]))


def test_landmarks_of_two_numbers(tmp_path):
    row = "0 0.5 0.5 0.1 0.1 0.4 0.4 0.6 0.4 0 0 0.4 0.6 0.6 0.6\n"
    (image,) = read(_set(tmp_path, row, kpt_shape=[5, 2]))
    np.testing.assert_allclose(image.landmarks_N52[0, 0], [0.4 * 600, 0.4 * 400], rtol=1e-6)
    assert np.isnan(image.landmarks_N52[0, 2]).all()


@pytest.mark.parametrize("row", ["0 0.5 0.5 0.1\n", "0 0.5 0.5 0.1 0.1 0.9\n", "0 0.5 x 0.1 0.1\n", "0 " + "0.1 " * 14])
def test_the_error_names_file_and_line_of_an_invalid_row(tmp_path, row):
    with pytest.raises(DataError, match=r"x\.txt, line 2"):
        read(_set(tmp_path, "0 0.5 0.5 0.1 0.1\n" + row))


def test_a_list_of_images_is_read(tmp_path):
    folder = _set(tmp_path, "0 0.5 0.5 0.1 0.1\n", train="train.txt")
    save(astronaut(), folder / "images" / "train" / "not_listed.jpg")
    (folder / "train.txt").write_text("./images/train/x.jpg\n")
    (image,) = read(folder)
    assert (image.name, len(image.boxes_N4)) == ("images/train/x.jpg", 1)


def test_several_folders_below_an_absolute_path_are_read(tmp_path):
    folder = write_yolo(tmp_path / "set", content()[:1], "one")
    write_yolo(folder, content()[3:], "two")
    (tmp_path / "face.yaml").write_text(
        yaml.safe_dump(
            {"path": str(folder), "train": ["images/one", "images/two"], "names": ["face"], "kpt_shape": [5, 3]}
        )
    )
    assert [image.name for image in read(tmp_path / "face.yaml")] == [
        "a/astronaut.jpg",
        "b/grace.jpg",
        "b/rocket.jpg",
    ]


def test_a_moved_export_is_found(tmp_path):
    _set(tmp_path, "0 0.5 0.5 0.1 0.1\n", path="/somewhere/else", train="../images/train")
    assert len(read(tmp_path)) == 1


def test_a_missing_folder_and_an_unknown_split_are_refused(tmp_path):
    folder = _set(tmp_path, "0 0.5 0.5 0.1 0.1\n", val="images/val")
    assert splits(folder) == ["train", "val"]
    with pytest.raises(DataError, match="no such folder or list"):
        read(folder, "val")
    with pytest.raises(DataError, match="no split test"):
        read(folder, "test")


def test_the_error_names_a_labelled_file_that_is_not_an_image(tmp_path):
    folder = _set(tmp_path, "0 0.5 0.5 0.1 0.1\n")
    (folder / "images" / "train" / "x.jpg").write_text("not an image")
    with pytest.raises(DataError, match=r"x\.jpg"):
        read(folder)


def test_check_stats_and_pack_report_a_file_that_is_not_an_image(tmp_path, mlcycle):
    folder = _set(tmp_path / "set", "0 0.5 0.5 0.1 0.1\n")
    (folder / "images" / "train" / "x.jpg").write_text("not an image")
    save(astronaut(), folder / "images" / "train" / "y.jpg")
    checked = mlcycle("data", "check", folder)
    assert checked.code == 3
    assert "x.jpg: not an image" in checked.out
    assert "1  of them cannot be read" in mlcycle("data", "stats", folder).out
    packed = ("data", "pack", folder, "--out", tmp_path / "packed")
    assert mlcycle(*packed).code == 3
    assert "left out x.jpg" in mlcycle(*packed, "--skip-unreadable").err


@pytest.mark.parametrize("size", [(1023, 777), (400, 267), (4032, 3024)])
def test_whole_pixels_survive_the_round_trip_exactly(tmp_path, size):
    save(coffee().resize((64, 64)).resize(size), tmp_path / "x.jpg", quality=30)
    end = np.array(size)
    corners_N2 = np.random.default_rng(1).integers(0, end - 60, (200, 2)) * np.array(
        [[1, 1], [0, 1], [1, 0], [0, 0]] * 50
    )
    sides_N2 = np.random.default_rng(2).integers(1, 60, (200, 2))
    boxes_N4 = np.concatenate([corners_N2, np.where(np.arange(200)[:, None] % 7, corners_N2 + sides_N2, end)], axis=1)
    before = LabelledImage(
        tmp_path / "x.jpg", "x.jpg", boxes_N4.astype(np.float32), np.zeros(200, bool), np.full((200, 5, 2), np.nan)
    )
    write_set({"train": [before]}, "yolo", tmp_path / "yolo")
    (after,) = read(tmp_path / "yolo")
    assert after.boxes_N4.tobytes() == before.boxes_N4.tobytes()


@pytest.mark.parametrize("text", ["names: [face]", "- 1", "a: b: c", "", "a: [1"])
def test_an_invalid_data_yaml_is_refused(tmp_path, text):
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(DataError) as problem:
        read(tmp_path)
    assert "\n" not in problem.value.message


@pytest.mark.parametrize("wrong", [{"names": "face"}, {"names": {"a": "face"}}, {"kpt_shape": 5}, {"kpt_shape": [5]}])
def test_invalid_names_and_kpt_shape_are_refused(tmp_path, wrong):
    with pytest.raises(DataError, match="names or kpt_shape"):
        read(_set(tmp_path, "", **wrong))
