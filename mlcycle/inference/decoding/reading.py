"""Opens image and video files, or raises an error with a stable code."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from mlcycle.errors import UnreadableError


@contextmanager
def open_file(path: str | Path, max_bytes: int | None = None) -> Iterator[BinaryIO]:
    """Opens a file for reading; pipes, sockets and devices are refused without being opened.

    Raises:
        UnreadableError: not-found, not-a-file, no-permission, unreadable, or too-large: it has more than `max_bytes`.
    """
    try:
        status = os.stat(path)  # noqa: PTH116 (the trace passes strings)
        if stat.S_ISDIR(status.st_mode) and not os.access(path, os.R_OK | os.X_OK):
            raise UnreadableError("no-permission", "it is a folder that this user cannot read")
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableError("not-a-file", f"it is {_kind(status.st_mode)}, not a file")
        if max_bytes is not None and status.st_size > max_bytes:
            raise UnreadableError("too-large", f"the file has {status.st_size:,} bytes")
        if not status.st_size:
            yield io.BytesIO()  # not opened: some files in /proc never end
            return
        with open(path, "rb") as file:
            yield file
    except FileNotFoundError:
        raise UnreadableError("not-found", "no such file") from None
    except PermissionError:
        raise UnreadableError("no-permission", "this user cannot read it") from None
    except (OSError, ValueError) as problem:
        raise UnreadableError("unreadable", f"it cannot be read: {getattr(problem, 'strerror', problem)}") from None


def _kind(mode: int) -> str:
    for test, words in (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    ):
        if test(mode):
            return words
    return "something else"
