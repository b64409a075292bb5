"""Images with odd names, and paths that are not files: one record each, with a name that readers can recover."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Outcome, environment
from odd_files import encoded
from odd_names import fill
from PIL import Image

from mlcycle.inference.copies.image_copies import with_copy_paths
from mlcycle.inference.record import Source, readable

pytest_plugins = ("tiny_album",)

Run = Callable[..., Outcome]


@pytest.fixture(scope="session")
def image(pixels: np.ndarray) -> bytes:
    return encoded(Image.fromarray(pixels[100:124, 100:132]), "JPEG")


def status_of(record: dict[str, object]) -> str:
    error = record["error"]
    code = error["code"] if isinstance(error, dict) else error
    return f"error {code}" if code else str(record["status"])


def copies_are_complete(records: list[dict[str, object]], folder: Path) -> bool:
    """Returns whether each readable image has its own copy below the folder, and nothing else is there."""
    named = [Path(str(each["annotated"])).relative_to(folder) for each in records if each["annotated"]]
    existing = {Path(here, name).relative_to(folder) for here, _, names in os.walk(folder) for name in names}
    read = sum(each["status"] != "error" for each in records)
    return (
        len(set(named)) == len(named) == read
        and set(named) == existing
        and not any(".." in each.parts for each in named)
    )


def test_every_odd_name_has_one_record_in_every_format(mlcycle: Run, tiny: Path, image: bytes, tmp_path: Path) -> None:
    folder, found = tmp_path / "odd" / "names", tmp_path / "found"
    expected = fill(folder, 200, image)
    assert len(expected) > 100
    arguments = ("infer", "dir", folder, "--model", tiny, "--threads", "2", "--out")
    outcome = mlcycle(*arguments, tmp_path / "a.jsonl", "--annotate", found)
    assert outcome.code == 3
    records = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text("ascii").split("\n") if line]
    assert {os.fsencode(each["input"]): status_of(each) for each in records} == expected
    assert [os.fsencode(each["input"]) for each in records] == sorted(expected)
    assert copies_are_complete(records, found)

    assert mlcycle(*arguments, tmp_path / "a.json").code == 3
    document = json.loads((tmp_path / "a.json").read_text("ascii"))
    assert [os.fsencode(each["input"]) for each in document["records"]] == sorted(expected)

    assert mlcycle(*arguments, tmp_path / "coco.json", "--format", "coco").code == 3
    document = json.loads((tmp_path / "coco.json").read_text("ascii"))
    images = document["images"] + document["unreadable"]
    assert {os.fsencode(each["file_name"]): status_of({"error": None} | each) for each in images} == expected

    assert mlcycle(*arguments, tmp_path / "a.csv").code == 3
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = [readable(os.fsdecode(name)) for name in sorted(expected)]
    # What a spreadsheet would run has ./ in front.
    assert [row["input"] for row in rows] == [f"./{name}" if name[0] in "=+-@\t\r\n" else name for name in names]
    assert not any(None in row or None in row.values() for row in rows)


def test_control_characters_in_names_are_escaped_for_terminals(mlcycle: Run, tiny: Path, tmp_path: Path) -> None:
    odd = "\x1b[2J\n\u202e.jpg"
    for name in ("in", "found"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / name / odd)
    outcome = mlcycle("infer", "dir", tmp_path / "in", "--model", tiny, "--annotate", tmp_path / "found")
    assert outcome.code == 3
    assert r"\x1b[2J\n\u202e.jpg" in outcome.err
    outcome = mlcycle("infer", "dir", tmp_path / "in", "--model", tiny)
    assert r"\x1b[2J\n\u202e.jpg" in outcome.out
    assert "\x1b" not in outcome.out


def test_names_of_copies_are_distinct_and_valid_on_all_file_systems(tmp_path: Path) -> None:
    long = "é" * 124 + "x.tif"
    keys = [long, long, long.replace("x.", "y."), f"in/{long}", "e\u0301.jpg", "é.jpg", "É.jpg", "...jpg", "x" * 300]
    kinds = {"annotated": tmp_path / "a", "cropped": tmp_path / "c"}
    for keep_tree in (True, False):
        sources = list(with_copy_paths([Source(Path(key), key) for key in keys], kinds, keep_tree=keep_tree))
        for kind, folder in kinds.items():
            names = [source.copies[kind].relative_to(folder) for source in sources]
            assert len({os.path.normcase(name).lower() for name in names}) == len(keys)
            assert max(len(os.fsencode(part)) for name in names for part in name.parts) == 255
        annotated = [source.copies["annotated"].name for source in sources]
        assert {name[-4:] for name in annotated} == {".png", ".jpg"}
        assert annotated[4:8] == ["e\u0301.jpg", "é-2.jpg", "É-3.jpg", "...jpg"]


@pytest.mark.slow
def test_ten_thousand_odd_names_have_one_record_each(tiny: Path, image: bytes, tmp_path: Path) -> None:
    folder, found, out = tmp_path / "odd" / "names", tmp_path / "found", tmp_path / "records.jsonl"
    expected = fill(folder, 10_000, image)
    assert len(expected) > 9_000
    command = [
        sys.executable,
        "-m",
        "mlcycle",
        "infer",
        "dir",
        folder,
        "--model",
        tiny,
        "--annotate",
        found,
        "--out",
        out,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment())
    assert (done.returncode, done.stdout) == (3, "")
    assert len(done.stderr.splitlines()) == 3
    records = [json.loads(line) for line in out.read_text("ascii").split("\n") if line]
    assert {os.fsencode(each["input"]): status_of(each) for each in records} == expected
    assert len(records) == len(expected)
    assert copies_are_complete(records, found)
