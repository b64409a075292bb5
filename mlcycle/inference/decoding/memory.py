"""How many images are decoded at once: as many as fit into the room there is, however many threads want to."""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Iterator


class Room:
    """So many bytes for all who share it.

    Who wants more than are free waits; who wants more than there are at all waits until it is alone.
    """

    def __init__(self, size: int) -> None:
        self._size = self._free = size
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def take(self, size: int) -> Iterator[None]:
        """Holds so many bytes for as long as its block runs."""
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


def give_back() -> None:
    """Gives memory that is free back to the system, as far as the C library can be told to.

    glibc keeps what a thread has freed for that thread: with many of them it would soon be many huge images' worth.
    """
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
