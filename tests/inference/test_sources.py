"""Image sources: named files always, files in folders by suffix, each once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Outcome

from mlcycle.errors import InputError, UsageError
from mlcycle.inference.sources import from_folder, from_listed, from_names

pytest_plugins = ("tiny_album",)

Run = Callable[..., Outcome]


def no_input() -> bytes:
    raise AssertionError("standard input was read")


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_images_of_a_folder_are_sorted_by_key(tmp_path: Path) -> None:
    touch(*(tmp_path / name for name in ("b.JPG", "a/z.png", "a.webp", "c/d/e.tiff", "notes.txt", "video.mp4")))
    touch(tmp_path / ".hidden.jpg", tmp_path / ".thumbnails" / "x.jpg")
    found = from_folder(tmp_path)
    assert [source.key for source in found] == ["a.webp", "a/z.png", "b.JPG", "c/d/e.tiff"]
    assert found.others == 2


def test_names_in_memory_and_in_a_temporary_file_are_equal(tmp_path: Path) -> None:
    touch(*(tmp_path / f"{'long' * 50}{number}.jpg" for number in range(400)))  # more than one block
    kept = from_folder(tmp_path, in_memory=True)
    assert list(kept) == list(kept) == list(from_folder(tmp_path))
    assert len({source.key for source in kept}) == 400


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    touch(tmp_path / "album" / "a.jpg", tmp_path / "elsewhere" / "b.jpg")
    (tmp_path / "album" / "loop").symlink_to(tmp_path / "album")
    (tmp_path / "album" / "other").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "album" / "dangling.jpg").symlink_to(tmp_path / "nothing.jpg")
    keys = [source.key for source in from_folder(tmp_path / "album")]
    assert keys == ["a.jpg", "dangling.jpg", "other/b.jpg"]


def test_pipes_in_a_folder_are_listed_and_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert [source.key for source in from_folder(tmp_path)] == ["pipe.jpg"]


def test_named_files_are_accepted_with_any_suffix() -> None:
    assert [source.key for source in from_names(["./notes.txt", "a//b.jpg", "C:thing"], no_input)] == [
        "notes.txt",
        "a/b.jpg",
        "C:thing",
    ]
    for url in ("http://host/a.jpg", "s3://bucket/a.jpg"):
        with pytest.raises(UsageError, match="is a URL"):
            from_names([url], no_input)


def test_names_in_a_list_keep_their_order_and_encoding(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"b.jpg\n\n a b .png\r\n\xff.jpg")
    found = from_names(["first.jpg", f"@{tmp_path / 'list.txt'}"], no_input)
    assert [source.key for source in found] == ["first.jpg", "b.jpg", " a b .png", os.fsdecode(b"\xff.jpg")]


@pytest.mark.parametrize(("content", "words"), [(None, "cannot be read"), (b" \n\n", "is empty")])
def test_a_list_without_names_is_refused(tmp_path: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(InputError, match=words):
        from_names([f"@{tmp_path / 'list.txt'}"], no_input)


def test_a_url_in_a_list_is_refused() -> None:
    with pytest.raises(UsageError, match="is a URL"):
        from_listed([b"a.jpg", b"https://host/a.jpg"])


def test_a_pattern_gives_the_matching_files(tmp_path: Path) -> None:
    touch(*(tmp_path / name for name in ("a.jpg", "in/b.jpg", "in/deep/c.jpg", "d.png", "odd[1].jpg", "odd1.jpg")))
    (tmp_path / "folder.jpg").mkdir()

    def keys(pattern: str) -> list[str]:
        found = from_names([str(tmp_path / pattern)], no_input)
        return [source.path.relative_to(tmp_path).as_posix() for source in found]

    assert keys("*.jpg") == ["a.jpg", "odd1.jpg", "odd[1].jpg"]
    assert keys("**/?.jpg") == ["a.jpg", "in/b.jpg", "in/deep/c.jpg"]
    assert keys("odd[1].jpg") == ["odd[1].jpg"]  # a file of this name takes precedence
    assert keys("none*.jpg") == ["none*.jpg"]


def test_standard_input_has_one_image() -> None:
    (source,) = from_names(["-"], lambda: b"bytes")
    assert (source.key, source.data) == ("-", b"bytes")
    with pytest.raises(UsageError, match="passed twice"):
        from_names(["-", "-"], lambda: b"bytes")


def test_a_tree_too_deep_to_be_read_is_reported(mlcycle: Run, tiny: Path, tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg", tmp_path / "z.jpg")
    name, opened = "n" * 250, [os.open(tmp_path, os.O_RDONLY)]
    for _ in range(20):  # 5,000 characters, more than a path may have
        os.mkdir(name, dir_fd=opened[-1])
        opened.append(os.open(name, os.O_RDONLY, dir_fd=opened[-1]))
    os.close(os.open("lost.jpg", os.O_CREAT, dir_fd=opened[-1]))
    try:
        keys = [source.key for source in from_folder(tmp_path)]
        assert (keys[0], keys[-1], len(keys)) == ("a.jpg", "z.jpg", 3)
        assert set(keys[1].split("/")) == {name, ""}
        outcome = mlcycle("infer", "dir", tmp_path, "--model", tiny, "--format", "jsonl")
        assert outcome.code == 3
        errors = [json.loads(line)["error"]["code"] for line in outcome.out.splitlines()]
        assert errors == ["empty", "unreadable", "empty"]
    finally:
        os.unlink("lost.jpg", dir_fd=opened.pop())
        while opened:
            os.rmdir(name, dir_fd=opened[-1])
            os.close(opened.pop())


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_without_permission_is_reported(mlcycle: Run, tiny: Path, tmp_path: Path) -> None:
    touch(tmp_path / "in" / "a.jpg")
    (tmp_path / "in").chmod(0)
    try:
        outcome = mlcycle("infer", "dir", tmp_path, "--model", tiny, "--format", "jsonl")
    finally:
        (tmp_path / "in").chmod(0o755)
    record = json.loads(outcome.out)
    assert (record["input"], record["error"]["code"], outcome.code) == ("in/", "no-permission", 3)
