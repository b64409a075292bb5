"""Files of images and videos: opened, or a stable code and a sentence that says why not."""

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
def opened(path: str | Path, most_bytes: int | None = None) -> Iterator[BinaryIO]:
    """Opens a file to be read; pipes, sockets and devices are refused without being opened.

    Raises:
        UnreadableError: not-found, not-a-file, no-permission, unreadable, or too-large: it has more than `most_bytes`.
    """
    try:
        status = os.stat(path)  # noqa: PTH116 (a Path is not needed, and strings come in from the trace)
        if stat.S_ISDIR(status.st_mode) and not os.access(path, os.R_OK | os.X_OK):
            raise UnreadableError("no-permission", "it is a folder that may not be read by this user")
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableError("not-a-file", f"it is {_kind(status.st_mode)}, not a file")
        if most_bytes is not None and status.st_size > most_bytes:
            raise UnreadableError("too-large", f"the file has {status.st_size:,} bytes")
        if not status.st_size:
            yield io.BytesIO()  # not opened: of the system's own in /proc, some never end
            return
        with open(path, "rb") as file:
            yield file
    except FileNotFoundError:
        raise UnreadableError("not-found", "there is no such file") from None
    except PermissionError:
        raise UnreadableError("no-permission", "it may not be read by this user") from None
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
