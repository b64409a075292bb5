"""Labelled sets from anywhere: they name only files of their own, and nothing in them exhausts the reader."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from small_sets import Labelled, coffee, names_in, save, write_coco, write_wider, write_yolo

from mlcycle.datasets.packing import PackOptions, pack
from mlcycle.datasets.reading import read
from mlcycle.errors import DataError

WRITERS = {"coco": write_coco, "wider": write_wider, "yolo": write_yolo}


@pytest.fixture
def foreign(tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes a set in a layout whose one image has another name in its labels."""
    save(coffee(), tmp_path / "private.jpg")

    def write(layout: str, name: str) -> Path:
        folder = WRITERS[layout](tmp_path / "set", [Labelled("a.jpg", coffee(), ((1, 2, 30, 40),))])
        if layout == "coco":
            labels = json.loads((folder / "annotations.json").read_text())
            labels["images"][0]["file_name"] = name
            (folder / "annotations.json").write_text(json.dumps(labels))
        elif layout == "wider":
            labels = folder / "wider_face_split" / "wider_face_train_bbx_gt.txt"
            labels.write_text(labels.read_text().replace("a.jpg", name))
        else:
            (folder / "train.txt").write_text(f"{name}\n")
            (folder / "data.yaml").write_text(
                yaml.safe_dump({"train": "train.txt", "names": ["face"], "kpt_shape": [5, 3]})
            )
        return folder

    return write


@pytest.mark.parametrize("layout", WRITERS)
@pytest.mark.parametrize("name", ["../private.jpg", "../../../private.jpg", "x/../../private.jpg", "{}/private.jpg"])
def test_a_name_that_leads_out_of_the_set_is_refused(layout: str, name: str, foreign, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"names a file outside of the set: .*private\.jpg"):
        read(foreign(layout, name.format(tmp_path)))


def test_a_name_in_a_shard_that_leads_out_of_the_set_is_refused(tmp_path: Path) -> None:
    import hashlib

    source = write_coco(tmp_path / "set", [Labelled("a.jpg", coffee())])
    pack({"": read(source)}, tmp_path / "packed", PackOptions())
    (labels,) = (tmp_path / "packed").glob("*.jsonl")
    labels.write_text(labels.read_text().replace('"a.jpg"', '"../a.jpg"'))
    index = tmp_path / "packed" / "index.json"
    content = json.loads(index.read_text())
    content["parts"][0]["shards"][0]["labels_sha256"] = hashlib.sha256(labels.read_bytes()).hexdigest()
    index.write_text(json.dumps(content))
    with pytest.raises(DataError, match="outside of the set"):
        read(tmp_path / "packed")


def test_an_index_of_shards_that_is_nested_too_deeply_is_an_error_of_the_data(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text('{"format": "mlcycle packed shards", "parts": ' + "[" * 100_000)
    with pytest.raises(DataError):
        read(tmp_path)


@pytest.mark.parametrize("place", ["..", "{}", "../other/images"])
def test_a_folder_whose_data_yaml_names_images_elsewhere_is_refused(place: str, tmp_path: Path) -> None:
    save(coffee(), tmp_path / "other" / "images" / "private.jpg")
    folder = write_yolo(tmp_path / "set", [Labelled("a.jpg", coffee())])
    shutil.rmtree(folder / "images")
    content = {"path": place.format(tmp_path / "other"), "train": ".", "names": ["face"]}
    (folder / "data.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(DataError, match="names images outside of it") as refused:
        read(folder)
    assert "pass the data.yaml itself" in refused.value.hint
    assert [each.path.name for each in read(folder / "data.yaml")] == ["private.jpg"]


def test_a_list_may_have_absolute_paths_inside_of_the_set(
    foreign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = foreign("yolo", f"{tmp_path}/set/images/train/a.jpg")
    monkeypatch.chdir(tmp_path)
    for path in (folder, Path("set"), Path("set", "data.yaml")):
        (image,) = read(path)
        assert (image.name, len(image.boxes_N4)) == ("images/train/a.jpg", 1)


@pytest.mark.parametrize("name", ["\\ud800.jpg", "a\\u0000.jpg"])
def test_a_name_that_no_file_can_have_is_an_error_of_the_data(name: str, foreign, mlcycle) -> None:
    folder = foreign("coco", "NAME")
    labels = folder / "annotations.json"
    labels.write_text(labels.read_text().replace("NAME", name))
    outcome = mlcycle("data", "check", folder)
    assert (outcome.code, outcome.out) == (3, "")
    assert "no file can have the name" in outcome.err


def test_a_group_that_cannot_be_printed_is_an_error_of_the_data(foreign, mlcycle) -> None:
    folder = foreign("coco", "a.jpg")
    labels = folder / "annotations.json"
    labels.write_text(labels.read_text().replace('"file_name"', '"group": "\\ud800", "file_name"'))
    assert mlcycle("data", "stats", folder).code == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [x]\nb: [*a, *a]\ntrain: images\n", "data.yaml:2: not YAML: aliases are not supported"),
        ("train: " + "[" * 1500, "nested too deeply"),
        ("train: [", "data.yaml:1: not YAML"),
        ("train: !!python/name:os.system x", "the tag"),
    ],
)
def test_a_data_yaml_is_read_as_strictly_as_a_recipe(text: str, message: str, foreign, mlcycle) -> None:
    folder = foreign("yolo", "a.jpg")
    (folder / "data.yaml").write_text(text)
    outcome = mlcycle("data", "check", folder)
    assert outcome.code == 3
    assert message in outcome.err
    assert names_in(folder.parent) == ["private.jpg", "set"]
