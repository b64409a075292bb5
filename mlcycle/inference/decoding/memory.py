"""The memory for decoded images: a budget that all threads share, and what happens to memory that is free again."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import threading
from collections.abc import Iterator

# Parameters of glibc's mallopt, and their values in bytes: smaller blocks come from the heap, which is returned to the
# system if more than this is free at its end.
_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD, _M_ARENA_MAX = -3, -1, -8
_HEAP_BLOCK_BYTES, _KEPT_BYTES = 32 << 20, 128 << 20


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


@functools.cache
def keep_free_memory() -> None:
    """Lets the C library keep the memory of an image for the next one, for the rest of the process.

    By default glibc returns blocks of this size to the system at once, which then clears each page again that the next
    image touches: a fifth of the time from a file to its faces. What is kept is kept once, and not for each thread that
    ever had a large image: otherwise a server that gets images of all sizes grows for hours.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, _HEAP_BLOCK_BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        library.mallopt(_M_ARENA_MAX, 1)
