"""Results in formats for other programs, read back by independent readers."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest

from mlcycle.inference.outputs import output
from mlcycle.inference.outputs.formats import WRITERS
from mlcycle.inference.record import Part, Record

NAMES = ("left_eye", "right_eye", "nose", "left_mouth_corner", "right_mouth_corner")
ODD = os.fsdecode(b'a,"b"\n\xff.jpg')


def record(name: str, faces: int, **more: object) -> Record:
    boxes_N4 = np.array([[10, 20, 30.126, 60]] * faces, np.float32).reshape(-1, 4)
    points_N52 = np.arange(10, dtype=np.float32).reshape(1, 5, 2).repeat(faces, axis=0)
    scores_N = np.linspace(0.9, 0.8, faces, dtype=np.float32)
    return Record(name, boxes_N4, scores_N, points_N52, NAMES, **{"width": 64, "height": 80, **more})  # type: ignore[arg-type]


RECORDS = [
    record("none.jpg", 0),
    record(ODD, 2),
    record("broken.jpg", 0, width=0, height=0, error=("truncated", "the file ends before the image does")),
    record("in/one.jpg", 1),
]


def written(format: str, records: list[Record]) -> str:
    stream = io.StringIO()
    writer = WRITERS[format](stream)
    for each in records:
        writer.write(each)
    writer.close()
    return stream.getvalue()


def test_csv_has_a_row_per_face_and_at_least_one_per_image() -> None:
    rows = list(csv.DictReader(io.StringIO(written("csv", RECORDS))))
    assert [(row["input"], row["status"], row["error"], row["face"]) for row in rows] == [
        ("none.jpg", "empty", "", ""),
        ('a,"b"\n\\xff.jpg', "ok", "", "1"),
        ('a,"b"\n\\xff.jpg', "ok", "", "2"),
        ("broken.jpg", "error", "truncated", ""),
        ("in/one.jpg", "ok", "", "1"),
    ]
    assert {len(row) for row in rows} == {23}
    assert not any(None in row.values() for row in rows)
    assert [float(rows[1][each]) for each in ("x1", "y1", "x2", "y2", "score")] == [10, 20, 30.13, 60, 0.9]
    assert (rows[1]["width"], rows[1]["left_eye_x"], rows[1]["right_mouth_corner_y"]) == ("64", "0.0", "9.0")


@pytest.mark.parametrize("faces", [0, 1])
def test_pages_of_a_file_are_distinguished(faces: int) -> None:
    pages = [record("a.tif", faces, part=Part("page", number, 2)) for number in (1, 2)]
    rows = csv.DictReader(io.StringIO(written("csv", pages)))
    assert [(row["input"], row["part"]) for row in rows] == [("a.tif", "1"), ("a.tif", "2")]
    images = json.loads(written("coco", pages))["images"]
    assert [(each["file_name"], each["part"]) for each in images] == [("a.tif", 1), ("a.tif", 2)]


def test_coco_has_every_image_and_faces_with_scores() -> None:
    document = json.loads(written("coco", RECORDS))
    assert [(each["id"], each["status"]) for each in document["images"]] == [(1, "empty"), (2, "ok"), (3, "ok")]
    assert {(each["width"], each["height"]) for each in document["images"]} == {(64, 80)}
    assert document["images"][1]["file_name"] == ODD
    # Readers need a width and a height of every image.
    assert document["unreadable"] == [{"file_name": "broken.jpg", "status": "error", "error": "truncated"}]
    assert [each["image_id"] for each in document["annotations"]] == [2, 2, 3]
    first = document["annotations"][0]
    assert (first["bbox"], first["area"], first["score"]) == ([10, 20, 20.13, 40], 805.2, 0.9)
    assert first["keypoints"][:6] == [0, 1, 2, 2, 3, 2]
    assert document["categories"] == [{"id": 1, "name": "face", "keypoints": list(NAMES)}]


def test_frames_have_a_time_in_csv() -> None:
    frames = [record("a.mp4", faces, part=Part("frame", 7, None, 0.25)) for faces in (0, 1)]
    rows = csv.DictReader(io.StringIO(written("csv", [*frames, record("a.jpg", 0)])))
    assert [(row["part"], row["seconds"]) for row in rows] == [("7", "0.25"), ("7", "0.25"), ("", "")]


def test_coco_is_read_by_an_independent_reader(tmp_path: object) -> None:
    package = pytest.importorskip("faster_coco_eval")
    coco = package.COCO()
    coco.dataset = json.loads(written("coco", RECORDS))
    coco.createIndex()
    assert len(coco.getAnnIds(imgIds=[2], catIds=[1])) == 2


@pytest.mark.parametrize("format", sorted(WRITERS))
def test_no_records_give_a_complete_document(format: str) -> None:
    text = written(format, [])
    if format == "csv":
        assert text.startswith("input,part,seconds,status,error,")
        assert len(text.splitlines()) == 1
    elif format != "jsonl":
        assert isinstance(json.loads(text), dict)


def test_what_replaces_the_file_of_a_link_is_written_next_to_that_file(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()  # perhaps on another file system, to which no file can be renamed
    (tmp_path / "elsewhere" / "real").write_text("before")
    (tmp_path / "link").symlink_to("elsewhere/real")
    with output.open_output(tmp_path / "link", overwrite=True) as stream:
        stream.write("after")
        assert (tmp_path / "elsewhere" / "real.part").exists()
    assert (tmp_path / "elsewhere" / "real").read_text() == "after"
    assert (tmp_path / "link").is_symlink()
