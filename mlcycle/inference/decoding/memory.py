"""Limits how many images are decoded at once, by a memory budget that all threads share."""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Iterator


class MemoryBudget:
    """A number of bytes that several threads share.

    A caller that needs more memory than is free waits. A caller that needs more than the whole budget waits until it is
    the only one.
    """

    def __init__(self, size: int) -> None:
        self._size = self._free = size
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def take(self, size: int) -> Iterator[None]:
        """Reserves bytes while its block runs."""
        size = min(size, self._size)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= size)
            self._free -= size
        try:
            yield
        finally:
            with self._changed:
                self._free += size
                self._changed.notify_all()


def release_free_memory() -> None:
    """Returns freed memory to the system, if the C library supports it.

    glibc keeps the freed memory of each thread: with many threads this would add up to many huge images.
    """
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
