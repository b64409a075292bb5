"""The loops of resampling.c, where mlcycle was installed with a C compiler. Imports neither numpy nor Pillow."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from pathlib import Path

LIBRARY = Path(__file__).with_name("libresampling.so")
_LOOPS = ("resample_rows", "resample_columns")


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL | None:
    """Returns the loaded loops, or None if they were not compiled, or for another platform."""
    try:
        library = ctypes.CDLL(str(LIBRARY))
    except OSError:
        return None
    return library if all(hasattr(library, each) for each in _LOOPS) else None
