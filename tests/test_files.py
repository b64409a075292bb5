"""Files and folders are written whole or not at all, and an error names the file that it is about."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mlcycle import files
from mlcycle.errors import InputError


def names_in(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


@contextmanager
def file_size_limit(count: int) -> Iterator[None]:
    """Lets the system refuse to make any file longer than so many bytes, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_has_its_name_when_it_is_whole_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.bin"
    with files.atomic(path) as file:
        file.write(b"all ")
        file.flush()
        assert not path.exists()
        assert [name for name in names_in(path.parent) if not name.startswith(".")] == []
        file.write(b"of it")
    assert (path.read_bytes(), names_in(path.parent)) == (b"all of it", ["a.bin"])


@pytest.mark.parametrize("problem", [ValueError("no"), KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_where_the_block_raises_nothing_is_left_and_the_file_of_before_stays(
    problem: BaseException, tmp_path: Path
) -> None:
    (tmp_path / "a.bin").write_bytes(b"before")
    with pytest.raises(type(problem)), files.atomic(tmp_path / "a.bin", overwrite=True) as file:  # noqa: PT012
        file.write(b"after")
        raise problem
    assert ((tmp_path / "a.bin").read_bytes(), names_in(tmp_path)) == (b"before", ["a.bin"])


def test_another_file_is_replaced_only_where_the_caller_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    files.write(path, b"before")
    with pytest.raises(InputError, match=r"a\.bin already exists"):
        files.write(path, b"after")
    assert path.read_bytes() == b"before"
    files.write(path, b"before")  # the same bytes are not a conflict
    files.write(path, b"after", overwrite=True)
    assert (path.read_bytes(), names_in(tmp_path)) == (b"after", ["a.bin"])


@pytest.mark.parametrize("links", [True, False])
def test_a_name_that_is_taken_while_the_file_grows_is_not_replaced(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", _refuse_to_link)
    path = tmp_path / "a.bin"
    with pytest.raises(FileExistsError) as caught, files.atomic(path) as file:  # noqa: PT012
        file.write(b"ours")
        path.write_bytes(b"theirs")
    assert (caught.value.filename, path.read_bytes()) == (str(path), b"theirs")
    path.unlink()
    with files.atomic(path) as file:
        file.write(b"ours")
    assert (path.read_bytes(), names_in(tmp_path)) == (b"ours", ["a.bin"])


def _refuse_to_link(*names: object) -> None:
    raise PermissionError(1, "Operation not permitted")


def test_of_many_writers_of_one_name_one_wins(tmp_path: Path) -> None:
    start, won = threading.Barrier(8), []

    def write(number: int) -> None:
        start.wait()
        try:
            files.write(tmp_path / "a.bin", b"%d" % number)
            won.append(number)
        except InputError:
            pass

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(tmp_path / "a.bin").read_bytes()] == [b"%d" % number for number in won]
    assert names_in(tmp_path) == ["a.bin"]


def test_permissions_are_there_from_the_first_byte_on(tmp_path: Path) -> None:
    with files.atomic(tmp_path / "secret.key", mode=0o600) as file:
        (growing,) = tmp_path.iterdir()
        assert stat.S_IMODE(growing.stat().st_mode) == 0o600
        file.write(b"secret")
    files.write(tmp_path / "sealed", b"data", mode=0o444)
    files.write(tmp_path / "plain", b"data")
    umask = os.umask(0o022)
    os.umask(umask)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"secret.key": 0o600, "sealed": 0o444 & ~umask, "plain": 0o666 & ~umask}


def test_what_was_written_so_far_stays_where_the_caller_says_so(tmp_path: Path) -> None:
    part = tmp_path / "a.bin.part"
    for _ in range(2):  # the second time over what the first has left
        with pytest.raises(ValueError, match="no"), files.atomic(tmp_path / "a.bin", partial=part) as file:  # noqa: PT012
            file.write(b"so far")
            raise ValueError("no")
        assert (part.read_bytes(), names_in(tmp_path)) == (b"so far", ["a.bin.part"])
    with files.atomic(tmp_path / "a.bin", partial=part) as file:
        file.write(b"whole")
    assert names_in(tmp_path) == ["a.bin"]


def test_with_a_token_what_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 250 + ".png")
    assert files.draft(path, "run") == files.draft(path, "run") != files.draft(path, "another")
    assert files.draft(path) != files.draft(path)
    files.draft(path, "run").write_bytes(b"half")
    with files.atomic(path, token="run") as file:
        file.write(b"whole")
    assert (path.read_bytes(), names_in(tmp_path)) == (b"whole", [path.name])


def test_an_error_in_writing_names_the_file_though_the_systems_names_none(tmp_path: Path) -> None:
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    with file_size_limit(10), pytest.raises(OSError, match="too large") as caught, files.atomic(outer):  # noqa: SIM117
        with files.atomic(inner) as file:
            file.write(bytes(100_000))
    assert (caught.value.filename, names_in(tmp_path)) == (str(inner), [])
    with file_size_limit(10), pytest.raises(InputError, match="inner cannot be written: File too large") as refused:
        files.write(inner, bytes(100_000), hint="choose another disk")
    assert refused.value.hint == "choose another disk"


def test_the_first_error_counts_where_closing_fails_too(tmp_path: Path) -> None:
    with file_size_limit(10), pytest.raises(ValueError, match="first"), files.atomic(tmp_path / "a") as file:  # noqa: PT012
        file.write(bytes(100))  # which waits in memory
        raise ValueError("first")
    assert names_in(tmp_path) == []


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("file/a", "file/a/b"):
        with pytest.raises(InputError, match=f"{name} cannot be written: Not a directory"):
            files.write(tmp_path / name, b"new")
        with pytest.raises(NotADirectoryError), files.atomic_folder(tmp_path / name):
            pass
    with pytest.raises(InputError, match="file already exists"):
        files.write(tmp_path / "file", b"new")


def test_what_an_error_is_about(tmp_path: Path) -> None:
    messages = []
    for problem in (
        OSError(28, "full"),
        OSError(28, "full", str(tmp_path / "target")),
        OSError(28, "full", str(tmp_path / "target" / "below")),
        OSError(28, "full", str(tmp_path / "target2")),
        FileNotFoundError(2, "missing", str(tmp_path / "source")),
        OSError(28, "full", "source", None, str(tmp_path / "target" / "copy")),
        FileExistsError(17, "taken"),
    ):
        with pytest.raises(InputError) as caught, files.attributed(tmp_path / "target", "hint"):
            raise problem
        messages.append(caught.value.message.replace(str(tmp_path), ""))
    cannot = "/target cannot be written: full"
    others = ["/target2 cannot be written: full", "/source cannot be used: missing"]
    assert messages == [cannot, cannot, cannot, *others, cannot, "/target already exists"]


@pytest.mark.parametrize(
    ("number", "hint"), [(errno.ENOSPC, "free disk space, or go elsewhere"), (errno.EACCES, "go elsewhere")]
)
def test_only_a_full_disk_is_called_full(number: int, hint: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught, files.attributed(tmp_path, "go elsewhere"):
        raise OSError(number, "why")
    assert caught.value.hint == hint


@pytest.mark.parametrize("problem", [ValueError("no"), KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_of_a_folder_that_is_not_filled_nothing_is_left(problem: BaseException, tmp_path: Path) -> None:
    path = tmp_path / "folder"
    with pytest.raises(type(problem)) as caught, files.atomic_folder(path) as folder:  # noqa: PT012
        (folder / "a").write_text("half")
        raise problem
    assert names_in(tmp_path) == []
    assert getattr(caught.value, "filename", str(path)) == str(path)


def test_a_folder_takes_the_place_of_another_only_where_the_caller_says_so(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    for overwrite, content in ((False, "first"), (True, "second")):
        with files.atomic_folder(path, overwrite=overwrite) as folder:
            (folder / content).touch()
        assert (names_in(path), names_in(tmp_path)) == ([content], ["folder"])
    with pytest.raises(FileExistsError), files.atomic_folder(path) as folder:
        (folder / "third").touch()
    assert (names_in(path), names_in(tmp_path)) == (["second"], ["folder"])


@pytest.mark.parametrize("is_link", [False, True])
def test_a_folder_that_replaces_a_file_or_a_link_leaves_nothing_else(is_link: bool, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    if is_link:
        (tmp_path / "a").symlink_to("real")
    else:
        (tmp_path / "a").write_text("before")
    with files.atomic_folder(tmp_path / "a", overwrite=True) as folder:
        (folder / "b").write_text("after")
    assert (names_in(tmp_path), names_in(tmp_path / "a"), names_in(tmp_path / "real")) == (["a", "real"], ["b"], [])


def test_a_link_is_kept_and_the_file_that_it_names_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "real").write_text("before")
    (tmp_path / "link").symlink_to("elsewhere/real")
    with pytest.raises(InputError, match="link already exists"):
        files.write(tmp_path / "link", "after")
    files.write(tmp_path / "link", "after", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "elsewhere" / "real").read_text() == "after"
    assert (names_in(tmp_path), names_in(tmp_path / "elsewhere")) == (["elsewhere", "link"], ["real"])


def test_a_link_to_nothing_is_another_file_unless_it_may_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("new")
    with pytest.raises(InputError, match="link already exists"):
        files.write(tmp_path / "link", "data")
    files.write(tmp_path / "link", "data", overwrite=True)
    assert ((tmp_path / "new").read_text(), (tmp_path / "link").is_symlink()) == ("data", True)


@pytest.mark.parametrize("is_link", [False, True])
def test_a_pipe_or_a_device_is_not_replaced(is_link: bool, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    path = tmp_path / ("link" if is_link else "pipe")
    with pytest.raises(InputError, match="cannot be written: it is a pipe or a device"):
        files.write(path, b"data")
    assert (path.is_fifo(), path.is_symlink(), names_in(tmp_path)) == (True, is_link, ["link", "pipe"])


def test_an_error_about_a_source_is_not_one_about_the_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, files.atomic_folder(tmp_path / "folder") as folder:
        shutil.copy2(tmp_path / "missing", folder / "copy")
    assert caught.value.filename == str(tmp_path / "missing")
    with pytest.raises(FileNotFoundError) as caught, files.atomic_folder(tmp_path / "folder") as folder:
        (folder / "a" / "b").write_text("there is no folder a")
    assert caught.value.filename == str(tmp_path / "folder")
