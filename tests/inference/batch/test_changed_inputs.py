"""A resumed run checks its inputs and copies: a changed, missing or removed one is noticed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Outcome
from PIL import Image

from mlcycle.inference.batch import ledger
from mlcycle.inference.batch.finished import FinishedImages
from mlcycle.inference.record import Part, Record, Source

pytest_plugins = ("tiny_album",)

Run = Callable[..., Outcome]


def records(run: Path) -> dict[str, dict]:
    lines = (run / "records.jsonl").read_text().splitlines()
    return {record["input"]: record for record in map(json.loads, lines)}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_changes_are_reported_and_processed(mlcycle: Run, album: Path, tiny: Path, tmp_path: Path) -> None:
    copies = ("--redact", "blur", tmp_path / "redacted", "--crops", tmp_path / "crops")
    arguments = ("infer", "dir", album, "--model", tiny, "--out", tmp_path / "run", *copies)
    mlcycle(*arguments)
    (album / "one.jpg").write_bytes((album / "none.jpg").read_bytes())
    (album / "none.jpg").unlink()
    (tmp_path / "redacted" / "inside" / "two.png").unlink()
    outcome = mlcycle(*arguments, "--resume")
    assert "1 file changed since the run was started; processed again" in outcome.err
    assert "1 image without a copy; processed again" in outcome.err
    assert "1 image no longer in the folder; the records are kept, with a note" in outcome.err
    assert "2 images, 2 faces, 0 failed" in outcome.err
    found = records(tmp_path / "run")
    assert (found["none.jpg"]["status"], found["none.jpg"]["note"]) == ("empty", "its file is gone")
    assert found["one.jpg"]["status"] == "empty"
    (tmp_path / "redacted" / "none.jpg").unlink()
    fresh = ("--redact", "blur", tmp_path / "fresh", "--crops", tmp_path / "fresh-crops")
    mlcycle(*arguments[:5], *fresh, "--out", tmp_path / "fresh-run")
    assert contents(tmp_path / "redacted") == contents(tmp_path / "fresh")
    assert contents(tmp_path / "crops") == contents(tmp_path / "fresh-crops")
    Image.new("RGB", (9, 9)).save(album / "none.jpg")  # it is back, as another image
    assert "1 image, 0 faces" in mlcycle(*arguments, "--resume").err
    assert records(tmp_path / "run")["none.jpg"]["note"] == ""


def test_another_folder_is_refused_and_a_moved_one_is_not(
    mlcycle: Run, album: Path, tiny: Path, tmp_path: Path
) -> None:
    common = ("--model", tiny, "--out", tmp_path / "run")
    mlcycle("infer", "dir", album, *common)
    album.rename(tmp_path / "moved")
    assert "4 images already finished" in mlcycle("infer", "dir", tmp_path / "moved", *common, "--resume").err
    before = records(tmp_path / "run")
    shutil.copytree(tmp_path / "moved", tmp_path / "other")
    Image.new("RGB", (9, 9)).save(tmp_path / "other" / "one.jpg")
    refused = mlcycle("infer", "dir", tmp_path / "other", *common, "--resume")
    assert refused.code == 2
    assert f"was started with another folder than {tmp_path / 'other'}" in refused.err
    assert records(tmp_path / "run") == before


def finished(folder: Path, settings: dict, *added: Record) -> tuple[ledger.Ledger, FinishedImages]:
    """Returns a ledger with records of files in the folder, and what a resumed run knows of them."""
    opened = ledger.begin(folder / "run", {"landmarks": [], **settings})
    first = FinishedImages(opened, folder / "run", lambda: None, str)
    for record in added:
        first.has(Source(folder / record.input, record.input, part=record.part))
        opened.add(record)
    return opened, FinishedImages(opened, folder / "run", lambda: None, str)


def test_all_pages_of_a_changed_file_are_processed_again(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_text("three pages")
    parts = [Part("page", number, 3) for number in (1, 2, 3)]
    opened, again = finished(tmp_path, {}, *(Record("a.tif", part=part) for part in parts))
    sources = [Source(tmp_path / "a.tif", "a.tif", part=part) for part in parts]
    assert [again.has(source) for source in sources] == [True] * 3
    (tmp_path / "a.tif").write_text("one page")
    again = FinishedImages(opened, tmp_path / "run", lambda: None, str)
    assert not again.has(Source(tmp_path / "a.tif", "a.tif"))
    assert (again.changed, len(opened)) == (1, 0)
    opened.close()


def test_a_ledger_from_elsewhere_removes_only_copies(tmp_path: Path) -> None:
    for name in ("a.jpg", "diary.jpg", "copies/a.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("some bytes")
    (tmp_path / "copies" / "link").symlink_to(tmp_path)
    copies = {"annotated": f"{tmp_path}/copies/link/diary.jpg", "redacted": f"{tmp_path}/copies/a.jpg"}
    settings = {"copies": {"redacted": str(tmp_path / "copies")}}
    opened, again = finished(tmp_path, settings, Record("a.jpg", width=1, height=1, copies=copies))
    (tmp_path / "a.jpg").write_text("more bytes than before")
    assert not again.has(Source(tmp_path / "a.jpg", "a.jpg"))
    assert (tmp_path / "diary.jpg").exists()
    assert not (tmp_path / "copies" / "a.jpg").exists()
    opened.close()


@pytest.mark.parametrize("content", [None, ""])
def test_a_copy_that_lost_its_bytes_is_made_again(tmp_path: Path, content: str | None) -> None:
    (tmp_path / "a.jpg").write_text("some bytes")
    (tmp_path / "b.jpg").write_text("a copy")
    settings, copies = {"copies": {"redacted": str(tmp_path)}}, {"redacted": f"{tmp_path}/b.jpg"}
    opened, again = finished(tmp_path, settings, Record("a.jpg", width=1, height=1, copies=copies))
    source = Source(tmp_path / "a.jpg", "a.jpg")
    assert again.has(source)
    (tmp_path / "b.jpg").unlink() if content is None else (tmp_path / "b.jpg").write_text(content)
    assert not again.has(source)
    assert again.incomplete == 1
    opened.close()
