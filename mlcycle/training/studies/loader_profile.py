"""Where the time goes that a sample takes to be read, by Python's own profiler: the readers know no clock."""

from __future__ import annotations

import cProfile
import pstats
from collections.abc import Sequence
from pathlib import Path

from mlcycle.errors import DataError
from mlcycle.training.data import crop, window
from mlcycle.training.data.samples import Key, Samples, collate
from mlcycle.training.distributed.device import one_thread

HERE = Path(window.__file__).parent
# A part of the work, and the functions that do it and nothing else.
PARTS = {
    "resizing": window.resize,
    "mirroring": window.mirror,
    "turning": crop.turn,
    "through JPEG": crop.through_jpeg,
    "putting into a batch": collate,
}
READING, REST = "opening and decoding, or reading what is decoded", "choosing the window, cutting and labels"


def reading_costs(samples: Samples, keys: Sequence[Key]) -> dict[str, float]:
    """Reads these samples on one thread; returns each part's share of a sample's seconds.

    Raises:
        DataError: an image cannot be read.
    """
    watched = cProfile.Profile()
    with one_thread():
        read = [samples[key] for key in keys]  # also fills the file system's cache
        with watched:
            read = [samples[key] for key in keys]
            batch = collate(read)
    if isinstance(batch, DataError):
        raise batch
    seconds = _seconds(pstats.Stats(watched))
    parts = {name: seconds.get(function.__name__, 0.0) for name, function in PARTS.items()}
    # Whatever an image's pixels come from has a `part`, which ends with a resize.
    pixels = seconds.get("part", 0.0) + seconds.get("size", 0.0) - parts["resizing"]
    whole = sum(seconds[each] for each in ("__getitem__", "collate"))
    parts = {READING: pixels, **parts, REST: whole - pixels - sum(parts.values())}
    return {name: each / len(keys) for name, each in parts.items()}


def _seconds(stats: pstats.Stats) -> dict[str, float]:
    """Returns the seconds spent in each function of this folder, with those that it called."""
    seconds: dict[str, float] = {}
    for (file, _, name), (_, _, _, spent, _) in stats.stats.items():  # type: ignore[attr-defined]
        if Path(file).parent == HERE:
            seconds[name] = seconds.get(name, 0.0) + spent
    return seconds
