"""Labels in YOLO's layout: other tools read them correctly, and a failed image does not count as one without faces."""

from __future__ import annotations

import csv
import json
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import Outcome
from tiny_model import write_tiny_model

from mlcycle.artifact.contract import LANDMARKS
from mlcycle.datasets import reading
from mlcycle.errors import InputError
from mlcycle.inference.outputs.yolo_labels import CONTENTS, configuration, open_labels, rows
from mlcycle.inference.record import Part, Record

pytest_plugins = ("tiny_album",)

Run = Callable[..., Outcome]
BOX_14 = np.array([[10, 20, 30, 60]], np.float32)


def record(name: str, **more: object) -> Record:
    return Record(name, BOX_14, np.array([0.9], np.float32), width=100, height=200, **more)  # type: ignore[arg-type]


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_mlcycle_reads_its_own_labels(mlcycle: Run, album: Path, tiny: Path, tmp_path: Path) -> None:
    (album / "one.png").write_bytes((album / "inside" / "two.png").read_bytes())
    out = tmp_path / "out"
    outcome = mlcycle("infer", "dir", album, "--model", tiny, "--format", "yolo", "--out", out)
    assert (outcome.code, outcome.out) == (3, "")
    assert [(row["input"], row["status"], row["error"], row["faces"], row["labels"]) for row in table(out)] == [
        ("broken.jpg", "error", "not-an-image", "", ""),
        ("inside/two.png", "ok", "", "2", "labels/inside/two.txt"),
        ("none.jpg", "empty", "", "0", "labels/none.txt"),
        ("one.jpg", "ok", "", "1", "labels/one.txt"),
        ("one.png", "ok", "", "2", "labels/one-2.txt"),
    ]
    for row in table(out):
        if row["image"]:
            (out / row["image"]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(album / row["input"], out / row["image"])
    lines = mlcycle("infer", "dir", album, "--model", tiny, "--format", "jsonl").out.splitlines()
    found = {each["input"]: each["faces"] for each in map(json.loads, lines)}
    read = {each.name: each for each in reading.read(out, "train")}
    assert len(read) == 4
    for row in table(out)[1:]:
        image, faces = read[row["image"]], found[row["input"]]
        boxes_N4 = np.array([face["box"] for face in faces]).reshape(-1, 4)
        points_N52 = np.array([list(face["landmarks"].values()) for face in faces]).reshape(-1, 5, 2)
        assert image.boxes_N4 == pytest.approx(boxes_N4, abs=0.01)
        assert image.landmarks_N52 == pytest.approx(points_N52, abs=0.01)
        scored = (out / row["labels"].replace("labels/", "predictions/")).read_text().splitlines()
        assert [float(line.split()[-1]) for line in scored] == [face["score"] for face in faces]
        assert [line.rsplit(" ", 1)[0] for line in scored] == (out / row["labels"]).read_text().splitlines()


def test_a_run_has_the_labels_of_all_its_images(mlcycle: Run, album: Path, tiny: Path, tmp_path: Path) -> None:
    whole, merged = tmp_path / "whole", tmp_path / "merged"
    arguments = ("infer", "dir", album, "--model", tiny, "--out")
    assert mlcycle(*arguments, whole, "--format", "yolo").code == 3
    (whole / "images").mkdir()
    assert mlcycle(*arguments, whole, "--format", "yolo", "--resume").code == 3
    assert mlcycle(*arguments, whole, "--format", "yolo", "--overwrite").code == 3
    assert (whole / "images").exists()
    for number in ("1/2", "2/2"):
        mlcycle(*arguments, tmp_path / number[0], "--shard", number)
    assert mlcycle("infer", "merge", tmp_path / "1", tmp_path / "2", "--out", merged, "--format", "yolo").code == 3
    for name in ("labels.csv", "images.txt", "labels/inside/two.txt", "predictions/one.txt", "data.yaml"):
        assert (merged / name).read_bytes() == (whole / name).read_bytes()
    assert len(table(whole)) == 4


def test_without_landmarks_a_row_has_five_columns(mlcycle: Run, album: Path, tmp_path: Path) -> None:
    plain = write_tiny_model(tmp_path / "plain.onnx", landmarks=False)
    arguments = ("infer", album / "one.jpg", "--model", plain, "--format", "yolo", "--out", tmp_path / "out")
    assert mlcycle(*arguments).code == 0
    assert len((tmp_path / "out" / "labels" / "one.txt").read_text().split()) == 5
    content = yaml.safe_load((tmp_path / "out" / "data.yaml").read_text())
    assert content == {"train": "images.txt", "val": "images.txt", "names": {0: "face"}}


def test_relative_coordinates_are_within_the_image() -> None:
    points_152 = np.array([[[15, 30], [25, 30], [-1, 40], [15, 50], [25, 201]]], np.float32)
    (row,) = rows(record("a.jpg", landmarks_N52=points_152, landmark_names=LANDMARKS))
    assert row.split()[:5] == ["0", "0.200000", "0.200000", "0.200000", "0.200000"]
    points = row.split()[5:]
    assert [points[at : at + 3] for at in (0, 6, 12)] == [["0.150000", "0.150000", "2"], ["0"] * 3, ["0"] * 3]


def test_left_and_right_landmarks_are_swapped_in_a_mirrored_image() -> None:
    content = yaml.safe_load(configuration(LANDMARKS))
    assert content["kpt_shape"] == [5, 3]
    mirrored = [LANDMARKS[at].replace("right", "left") for at in content["flip_idx"]]
    assert mirrored == [name.replace("right", "left") for name in LANDMARKS]
    assert content["flip_idx"] == [1, 0, 2, 4, 3]


def test_images_have_different_label_files(tmp_path: Path) -> None:
    names = ["a.jpg", "a.png", "A.JPG", "images/a.jpg", "in/images/b.jpg", "../../up.jpg", "noend", "-"]
    names.append(os.fsdecode(b"f\xff\n.jpg"))
    with open_labels(tmp_path / "out", tree=True) as labels:
        for name in names:
            labels.write(record(name))
        for number in (1, 2):
            labels.write(record("a.tif", part=Part("page", number)))
    rows = table(tmp_path / "out")
    assert [row["image"].removeprefix("images/") for row in rows] == [
        "a.jpg",
        "a-2.png",
        "A-3.JPG",
        "a-4.jpg",
        "in/b.jpg",
        "up.jpg",
        "noend",
        "stdin",
        "f__.jpg",
        "a.tif.1.png",
        "a.tif.2.png",
    ]
    listed = (tmp_path / "out" / "images.txt").read_text("utf-8").splitlines()
    assert listed == [f"./{row['image']}" for row in rows]
    for row in rows:
        assert (tmp_path / "out" / row["labels"]).read_text().count("\n") == 1
        expected = Path(row["image"].replace("images/", "labels/", 1)).with_suffix(".txt")
        assert Path(row["labels"]) == expected
    assert [row["part"] for row in rows[-2:]] == ["1", "2"]


def test_no_name_stops_a_run(tmp_path: Path) -> None:
    names = ["x.jpg", "x.txt/y.jpg", "x.TXT/y.jpg", "x.tx_/y.jpg", f"{'n' * 251}.jpg", f"{'n' * 250}é.jpg", "e" * 255]
    names += [f"x.{'s' * 253}", f"x.{'s' * 252}t", f"{'t' * 251}.txt/z.jpg"]
    with open_labels(tmp_path / "out", tree=True) as labels:
        for name in names:
            labels.write(record(name))
        for number in (1, 10):
            labels.write(record(f"{'p' * 251}.tif", part=Part("page", number)))
    rows = table(tmp_path / "out")
    assert [row["status"] for row in rows] == ["ok"] * 12
    assert len({row["labels"].lower() for row in rows}) == 12
    for row in rows:
        assert (tmp_path / "out" / row["labels"]).is_file()
        assert Path(row["labels"]) == Path(row["image"].replace("images/", "labels/", 1)).with_suffix(".txt")
        assert len(os.fsencode(Path(row["image"]).name)) <= 255


def test_without_tree_the_folders_are_left_out(tmp_path: Path) -> None:
    with open_labels(tmp_path / "out", tree=False) as labels:
        labels.write(record("/home/me/a.jpg"))
        labels.write(record("b/a.jpg"))
    assert [row["labels"] for row in table(tmp_path / "out")] == ["labels/a.txt", "labels/a-2.txt"]


def test_labels_are_added_to_a_folder_of_images_and_replace_only_labels(tmp_path: Path) -> None:
    image = tmp_path / "images" / "a.jpg"
    image.parent.mkdir()
    image.write_bytes(b"mine")
    with open_labels(tmp_path, tree=True) as labels:
        labels.write(record("a.jpg"))
    with pytest.raises(InputError, match="already exists"), open_labels(tmp_path, tree=True):
        pass
    with open_labels(tmp_path, tree=True, overwrite=True) as labels:
        labels.write(record("b.jpg"))
    assert [path.name for path in (tmp_path / "labels").iterdir()] == ["b.txt"]
    assert image.read_bytes() == b"mine"
    assert {path.name for path in tmp_path.iterdir()} == {*CONTENTS, "images"}


def test_foreign_labels_are_never_replaced(tmp_path: Path) -> None:
    theirs = tmp_path / "labels" / "a.txt"
    theirs.parent.mkdir()
    theirs.write_text("by hand\n")
    with pytest.raises(InputError, match="not written by mlcycle"), open_labels(tmp_path, tree=True, overwrite=True):
        pass
    assert theirs.read_text() == "by hand\n"
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is not a folder"), open_labels(tmp_path / "file", tree=True, overwrite=True):
        pass


@pytest.mark.parametrize("exists", [False, True])
def test_an_interrupted_run_leaves_no_incomplete_data_set(tmp_path: Path, exists: bool) -> None:
    out = tmp_path / "out"
    part = out / ".mlcycle.part" if exists else tmp_path / "out.part"
    if exists:
        out.mkdir()

    def interrupted() -> None:
        with open_labels(out, tree=True) as labels:
            labels.write(record("a.jpg"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not (out / "labels").exists()
    assert (part / "labels" / "a.txt").exists()
    assert len(table(part)) == 1
    with pytest.raises(InputError, match="interrupted run"):
        interrupted()
    with open_labels(out, tree=True, overwrite=True) as labels:
        labels.write(record("b.jpg"))
    assert not part.exists()
    assert [row["input"] for row in table(out)] == ["b.jpg"]


def test_only_errors_about_the_labels_name_them(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), open_labels(tmp_path / "out", tree=True):
        (tmp_path / "missing.jpg").read_bytes()
    shutil.rmtree(tmp_path / "out.part")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(InputError, match=r"out\.part cannot be written: File too large"):  # noqa: SIM117
            with open_labels(tmp_path / "out", tree=True) as labels:
                labels.write(record("a.jpg"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (tmp_path / "out").exists()


def test_a_stream_is_refused_before_a_model_is_loaded(mlcycle: Run, album: Path) -> None:
    outcome = mlcycle("infer", album / "one.jpg", "--format", "yolo")
    assert (outcome.code, outcome.out) == (2, "")
    assert "--out FOLDER" in outcome.err
    assert "model" not in outcome.err
