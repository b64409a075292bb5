"""What is looked at: named files always, files in folders by suffix, each once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlcycle.errors import UsageError
from mlcycle.inference.sources import from_folder, from_names


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_folder_gives_its_photographs_sorted_by_key(tmp_path: Path) -> None:
    touch(*(tmp_path / name for name in ("b.JPG", "a/z.png", "a.webp", "c/d/e.tiff", "notes.txt", "film.mp4")))
    touch(tmp_path / ".hidden.jpg", tmp_path / ".thumbnails" / "x.jpg")
    found = from_folder(tmp_path)
    assert [source.key for source in found.photographs] == ["a.webp", "a/z.png", "b.JPG", "c/d/e.tiff"]
    assert found.others == 2


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    touch(tmp_path / "album" / "a.jpg", tmp_path / "elsewhere" / "b.jpg")
    (tmp_path / "album" / "loop").symlink_to(tmp_path / "album")
    (tmp_path / "album" / "other").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "album" / "dangling.jpg").symlink_to(tmp_path / "nothing.jpg")
    keys = [source.key for source in from_folder(tmp_path / "album").photographs]
    assert keys == ["a.jpg", "dangling.jpg", "other/b.jpg"]


def test_pipes_in_a_folder_are_listed_and_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert [source.key for source in from_folder(tmp_path).photographs] == ["pipe.jpg"]


def test_named_files_are_taken_whatever_they_are_called() -> None:
    assert [source.key for source in from_names(["./notes.txt", "a//b.jpg", "C:thing"])] == [
        "notes.txt",
        "a/b.jpg",
        "C:thing",
    ]
    for url in ("http://host/a.jpg", "s3://bucket/a.jpg"):
        with pytest.raises(UsageError, match="is a URL"):
            from_names([url])
