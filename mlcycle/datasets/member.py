"""Where the bytes of an image are: in a file of its own, or in a member of a tar shard, read in place."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO


@dataclass(frozen=True, slots=True)
class Member:
    """An image within a shard; `open` and `read_bytes` work as for a file and raise the same errors.

    Attributes:
        shard: the tar file.
        name: the member's name in it, such as 000000123.jpg.
        offset: of its first byte from the start of the tar.
        size: in bytes.
    """

    shard: Path
    name: str
    offset: int
    size: int

    def __str__(self) -> str:
        return f"{self.shard}/{self.name}"

    def open(self) -> BinaryIO:
        """Opens the member for reading; its first byte is at position 0."""
        return io.BufferedReader(_ByteRange(self.shard, self.offset, self.size))

    def read_bytes(self) -> bytes:
        """Returns all bytes of the member."""
        with self.open() as file:
            return file.read()


ImagePath = Path | Member


def for_pillow(path: ImagePath) -> Path | BinaryIO:
    """Returns the argument with which Pillow opens an image."""
    return path.open() if isinstance(path, Member) else path


class _ByteRange(io.RawIOBase):
    """A byte range of a file as a file. Each has a descriptor of its own, so threads and forks share no position."""

    def __init__(self, path: Path, start: int, size: int) -> None:
        self._descriptor = -1
        self._start, self._size, self._at = start, size, 0
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = max(0, min(len(buffer), self._size - self._at))
        data = os.pread(self._descriptor, count, self._start + self._at)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("a position before the start")
        self._at = base + offset
        return self._at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        super().close()
