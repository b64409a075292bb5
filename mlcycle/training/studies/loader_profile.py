"""The time of each part of reading a sample, measured by Python's profiler, so that the loader needs no timers."""

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
# A part of the work, and the function that does only this.
PARTS = {
    "resizing": window.resize,
    "mirroring": window.mirror,
    "rotating": crop.rotate,
    "JPEG compression": crop.through_jpeg,
    "collating": collate,
}
READING, REST = "opening and decoding, or reading the decoded cache", "choosing the crop, cropping and labels"


def reading_costs(samples: Samples, batches: Sequence[Sequence[Key]]) -> dict[str, float]:
    """Reads batches of samples on one thread; returns the seconds of each part per sample.

    Raises:
        DataError: an image cannot be read.
    """
    profiler = cProfile.Profile()
    with one_thread():
        for keys in batches:
            _read(samples, keys)  # also fills the file system's cache
        with profiler:
            for keys in batches:
                _read(samples, keys)
    seconds = _seconds(pstats.Stats(profiler))
    parts = {name: seconds.get(function.__name__, 0.0) for name, function in PARTS.items()}
    # Every source of pixels has a method `part`, which ends with a resize.
    pixels = seconds.get("part", 0.0) + seconds.get("size", 0.0) - parts["resizing"]
    whole = sum(seconds[each] for each in ("__getitem__", "collate"))
    parts = {READING: pixels, **parts, REST: whole - pixels - sum(parts.values())}
    return {name: each / sum(map(len, batches)) for name, each in parts.items()}


def _read(samples: Samples, keys: Sequence[Key]) -> None:
    batch = collate([samples[key] for key in keys])
    if isinstance(batch, DataError):
        raise batch


def _seconds(stats: pstats.Stats) -> dict[str, float]:
    """Returns the cumulative seconds of each function in the data package."""
    seconds: dict[str, float] = {}
    for (file, _, name), (_, _, _, spent, _) in stats.stats.items():  # type: ignore[attr-defined]
        if Path(file).parent == HERE:
            seconds[name] = seconds.get(name, 0.0) + spent
    return seconds
