from __future__ import annotations

import numpy as np
import pytest
from small_sets import ASTRONAUT_POINTS_52, content, write_coco, write_wider, write_yolo

from mlcycle.datasets.reading import fingerprint, read, splits
from mlcycle.errors import DataError

WRITERS = {"wider": write_wider, "coco": write_coco, "yolo": write_yolo}


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """The same images and labels in three layouts."""
    folders = {}
    for name, write in WRITERS.items():
        folders[name] = write(tmp_path_factory.mktemp(name), content())
    return folders


@pytest.mark.parametrize("layout", WRITERS)
def test_every_layout_reads_the_same_content(sets, layout):
    images = read(sets[layout])
    assert [labelled.name for labelled in images] == [image.name for image in content()]
    for labelled, image in zip(images, content(), strict=True):
        corners = [(x, y, x + width, y + height) for x, y, width, height in image.faces]
        np.testing.assert_allclose(labelled.boxes_N4, np.array(corners).reshape(-1, 4), atol=1e-2)
        assert labelled.path.is_file()
        assert not labelled.ignore_N.any()
        assert labelled.boxes_N4.dtype == labelled.landmarks_N52.dtype == np.float32
        assert labelled.ignore_N.shape == (len(corners),)
        assert labelled.landmarks_N52.shape == (len(corners), 5, 2)
    np.testing.assert_allclose(images[0].landmarks_N52[0], ASTRONAUT_POINTS_52, atol=1e-2)
    assert np.isnan(images[0].landmarks_N52[1]).all()
    assert np.isnan(images[3].landmarks_N52).all()


def test_the_path_of_a_label_file_works_like_its_folder(sets):
    assert len(read(sets["coco"] / "annotations.json")) == 5
    assert len(read(str(sets["yolo"] / "data.yaml"))) == 5


def test_a_fingerprint_does_not_depend_on_path_or_order(sets, tmp_path):
    moved = write_coco(tmp_path, content()[::-1])
    assert fingerprint(read(moved)) == fingerprint(read(sets["coco"])[::-1])


def test_a_fingerprint_depends_on_labels_names_and_file_sizes(tmp_path):
    folder = write_coco(tmp_path, content())
    images = read(folder)
    before = fingerprint(images)
    with images[1].path.open("ab") as file:
        file.write(b"x")
    other_file = fingerprint(images)
    images[0].boxes_N4[0, 0] += 1
    other_label = fingerprint(images)
    images[0].ignore_N[0] = True
    assert len({before, other_file, other_label, fingerprint(images), fingerprint(images[1:])}) == 5


def test_the_error_of_an_unknown_split_names_the_available_ones(tmp_path):
    write_wider(tmp_path, content()[:1], "train")
    write_wider(tmp_path, content()[1:2], "val")
    assert splits(tmp_path) == ["train", "val"]
    with pytest.raises(DataError, match="no split test") as caught:
        read(tmp_path, "test")
    assert "train, val" in caught.value.hint
    with pytest.raises(DataError, match="several splits: train, val") as caught:
        read(tmp_path)
    assert "--split train" in caught.value.hint
    assert [image.name for image in read(tmp_path, "val")] == ["a/chelsea.jpg"]


def test_a_path_that_is_not_a_set_is_refused(tmp_path, sets):
    with pytest.raises(DataError, match="is not a labelled set"):
        read(tmp_path)
    with pytest.raises(DataError, match="no such data set"):
        read(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no split val"):
        read(sets["coco"], "val")
