"""Results as Parquet: read back by pyarrow, written in row groups, and refused without pyarrow."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Outcome

from mlcycle.artifact.contract import LANDMARKS
from mlcycle.distribution import install_command
from mlcycle.inference.outputs import output
from mlcycle.inference.record import Part, Record

pytest_plugins = ("tiny_album",)

Run = Callable[..., Outcome]


def record(name: str, faces: int, **more: object) -> Record:
    boxes_N4 = np.array([[10, 20, 30.126, 60]] * faces, np.float32).reshape(-1, 4)
    points_N52 = np.arange(10, dtype=np.float32).reshape(1, 5, 2).repeat(faces, axis=0)
    scores_N = np.linspace(0.9, 0.8, faces, dtype=np.float32)
    return Record(name, boxes_N4, scores_N, points_N52, LANDMARKS, **{"width": 64, "height": 80, **more})  # type: ignore[arg-type]


def test_an_image_is_a_row_and_its_faces_are_a_list(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    from mlcycle.inference.outputs.parquet import Parquet

    copies = {"annotated": "drawn/a.jpg", "cropped": "cut/a.jpg"}
    records = [
        record("none.jpg", 0),
        record(os.fsdecode(b"f\xff.jpg"), 2, copies=copies, milliseconds={"read": 1.5, "run": 2}),
        Record("broken.jpg", error=("truncated", "the file ends early"), landmark_names=LANDMARKS),
        record("a.mp4", 1, part=Part("frame", 7, None, 0.25), error=("not-written", "the disk is full")),
    ]
    with output.open_output(tmp_path / "faces.parquet") as stream:
        writer = Parquet(stream)
        for each in records:
            writer.write(each)
        writer.close()
    rows = parquet.read_table(tmp_path / "faces.parquet").to_pylist()
    assert [(row["input"], row["status"], row["error"], row["width"]) for row in rows] == [
        ("none.jpg", "empty", None, 64),
        ("f\\xff.jpg", "ok", None, 64),
        ("broken.jpg", "error", "truncated", None),
        ("a.mp4", "error", "not-written", 64),
    ]
    # No face, two faces, a failed image, and a face of an image whose copy could not be written.
    assert [row["faces"] if not row["faces"] else len(row["faces"]) for row in rows] == [[], 2, None, 1]
    face = rows[1]["faces"][1]
    assert list(face)[:6] == ["x1", "y1", "x2", "y2", "score", "left_eye_x"]
    assert (face["x2"], face["score"]) == (np.float32(30.126), np.float32(0.8))
    assert (face["right_mouth_corner_y"], rows[3]["faces"][0]["score"]) == (9, np.float32(0.9))
    assert (rows[1]["annotated"], rows[1]["redacted"]) == ("drawn/a.jpg", None)
    assert (rows[1]["crops"], rows[0]["crops"]) == (["cut/a.jpg/1.png", "cut/a.jpg/2.png"], None)
    assert (rows[1]["milliseconds"], rows[3]["part"], rows[3]["seconds"]) == (3.5, 7, 0.25)


@pytest.mark.parametrize(("images", "faces"), [(2, 1000), (1000, 2)])
def test_row_groups_are_limited_by_images_and_faces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: int, faces: int
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    from mlcycle.inference.outputs import parquet as module

    monkeypatch.setattr(module, "IMAGES", images)
    monkeypatch.setattr(module, "FACES", faces)
    with output.open_output(tmp_path / "faces.parquet") as stream:
        writer = module.Parquet(stream)
        for number in range(5):
            writer.write(record(f"{number}.jpg", 1))
        writer.close()
    file = parquet.ParquetFile(tmp_path / "faces.parquet")
    assert (file.num_row_groups, file.metadata.num_rows) == (3, 5)
    assert [row["input"] for row in file.read().to_pylist()] == [f"{number}.jpg" for number in range(5)]


def test_no_records_give_a_complete_file(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    from mlcycle.inference.outputs.parquet import Parquet

    with output.open_output(tmp_path / "faces.parquet") as stream:
        Parquet(stream).close()
    table = parquet.read_table(tmp_path / "faces.parquet")
    assert table.num_rows == 0
    assert "faces" in table.column_names


def test_the_suffix_selects_the_format(mlcycle: Run, album: Path, tiny: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    out = tmp_path / "faces.parquet"
    arguments = ("infer", "dir", album, "--model", tiny, "--out", out)
    assert mlcycle(*arguments)[:2] == (3, "")
    rows = parquet.read_table(out).to_pylist()
    assert [row["faces"] and len(row["faces"]) for row in rows] == [None, 2, [], 1]
    face = rows[3]["faces"][0]
    assert [face[name] for name in ("x1", "y1", "x2", "y2")] == pytest.approx([300, 40, 380, 150], abs=1.01)
    assert mlcycle(*arguments).code == 3
    assert [path.name for path in out.parent.glob("faces*")] == ["faces.parquet"]


def test_a_run_can_be_written_as_parquet(mlcycle: Run, album: Path, tiny: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    run = tmp_path / "run"
    arguments = ("infer", "dir", album, "--model", tiny, "--out", run, "--format", "parquet")
    assert mlcycle(*arguments).code == 3
    rows = parquet.read_table(run / "records.parquet").to_pylist()
    assert [(row["input"], row["faces"] and len(row["faces"])) for row in rows] == [
        ("broken.jpg", None),
        ("inside/two.png", 2),
        ("none.jpg", []),
        ("one.jpg", 1),
    ]


def test_a_stream_is_refused_before_a_model_is_loaded(mlcycle: Run, album: Path) -> None:
    outcome = mlcycle("infer", album / "one.jpg", "--format", "parquet")
    assert (outcome.code, outcome.out) == (2, "")
    assert "--out faces.parquet" in outcome.err
    assert "model" not in outcome.err


def test_a_missing_extra_is_reported_with_the_install_command(
    mlcycle: Run, album: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "mlcycle.inference.outputs.parquet", raising=False)
    out = tmp_path / "faces.parquet"
    for words in (("infer", album / "one.jpg", "--out", out), ("infer", "dir", album, "--out", tmp_path / "faces")):
        outcome = mlcycle(*words, "--model", tiny, "--format", "parquet")
        assert outcome.code == 2
        assert install_command("parquet") in outcome.err
    assert list(tmp_path.glob("faces*")) == []


def test_other_formats_do_not_need_pyarrow(album: Path, tiny: Path, process: Run) -> None:
    program = "import sys, runpy; sys.modules['pyarrow'] = None; runpy.run_module('mlcycle', run_name='__main__')"
    import subprocess

    from conftest import environment

    words = ["infer", str(album / "one.jpg"), "--model", str(tiny), "--format", "csv"]
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, check=False, env=environment()
    )
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 2)
