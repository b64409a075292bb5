"""Latency and size of a variant and its parent, measured in one run in turns, so that other load slows both equally."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlcycle.inference.detect import Detector, load_detector

SIDES = (320, 640)
ROUNDS, SECONDS = 15, 2.0


@dataclass(frozen=True, slots=True)
class Latency:
    """Median milliseconds of the graph for one image of noise, on one thread."""

    width: int
    height: int
    parent: float
    variant: float


def latencies(parent: Path | Detector, variant: Path | Detector, sides: tuple[int, ...] = SIDES) -> list[Latency]:
    """Times parent and variant in turns on square images, or at the fixed input size of the variant."""
    both = _loaded(parent), _loaded(variant)
    fixed = both[1].contract.input_size
    sizes = [(fixed.width, fixed.height)] if fixed else [(side, side) for side in sides]
    return [_latency(both, width, height) for width, height in sizes]


def _loaded(model: Path | Detector) -> Detector:
    return model if isinstance(model, Detector) else load_detector(model, provider="cpu", threads=1)


def table(rows: list[Latency], parent_bytes: int, variant_bytes: int) -> str:
    """Returns latency and size of both as a text table."""
    share = variant_bytes / parent_bytes
    sizes = f"{'MB':<28}{parent_bytes / 1e6:>8.2f}{variant_bytes / 1e6:>9.2f}{share:>8.2f}"
    return f"{table_of_latencies(rows)}\n{sizes}"


def table_of_latencies(rows: list[Latency]) -> str:
    """Returns the latencies of both as a text table."""
    lines = [f"{'':<28}{'parent':>8}{'variant':>9}{'ratio':>8}"]
    for row in rows:
        name = f"ms at {row.width} x {row.height}, 1 thread"
        lines.append(f"{name:<28}{row.parent:>8.2f}{row.variant:>9.2f}{row.variant / row.parent:>8.2f}")
    return "\n".join(lines)


def _latency(both: tuple[Detector, Detector], width: int, height: int) -> Latency:
    image_1HW3 = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
    times: tuple[list[float], list[float]] = ([], [])
    end = time.perf_counter() + SECONDS
    for turn in range(ROUNDS + 1):
        for detector, milliseconds in zip(both, times, strict=True):
            begin = time.perf_counter()
            detector.session.run(image_1HW3)
            if turn:  # the first turn allocates memory
                milliseconds.append((time.perf_counter() - begin) * 1000)
        if turn >= 3 and time.perf_counter() > end:
            break
    return Latency(width, height, *(statistics.median(each) for each in times))
