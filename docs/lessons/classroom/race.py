"""Times for lesson 4: of calls, of stages, of batches, and of variants of a model beside their accuracy."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

import mlcycle

STAGES = ("read", "decode", "resize", "run", "select")


def milliseconds(call: Callable[[], object], count: int) -> np.ndarray:
    """Returns the times of `count` calls in milliseconds, after five that are not counted."""
    for _ in range(5):
        call()
    times = np.empty(count)
    for number in range(count):
        start = time.perf_counter()
        call()
        times[number] = 1000 * (time.perf_counter() - start)
    return times


def percentile(times: np.ndarray, share: float) -> float:
    """Returns the least of the times that `share` percent of them do not exceed."""
    return float(np.percentile(times, share, method="inverted_cdf"))


def stages(model: mlcycle.Model, image: Path, count: int = 30) -> dict[str, float]:
    """Returns the median time of each stage for one image, in milliseconds."""
    runs = [model(image).milliseconds for _ in range(count)]
    return {stage: float(np.median([each[stage] for each in runs])) for stage in STAGES}


def batches(model: Path, image: Path, sizes: Sequence[int], threads: int = 1, count: int = 15) -> dict[int, float]:
    """Returns the median time of a batch by its size, in milliseconds: of the graph alone, on copies of one image."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    pixels_HW3 = np.asarray(Image.open(image).convert("RGB"))
    found = {}
    for size in sizes:
        batch = np.repeat(pixels_HW3[None], size, axis=0)
        found[size] = percentile(milliseconds(partial(session.run, None, {"images": batch}), count), 50)
    return found


@dataclass(frozen=True)
class Variant:
    """A model at an input size: its median time for one image on one thread, its AP50, and its file's size in bytes."""

    name: str
    milliseconds: float
    ap50: float
    size: int


def variant(name: str, model: str | Path, long_side: int, scenes: Path) -> Variant:
    """Measures a model on the demo's validation scenes: its speed on 20 of them, and its accuracy on all."""
    loaded = mlcycle.load(model, provider="cpu", threads=1, long_side=long_side)
    images = sorted((scenes / "images" / "val").glob("*.jpg"))[:20]
    times = np.concatenate([milliseconds(partial(loaded, image), 5) for image in images])
    metrics = mlcycle.evaluate(loaded, scenes, split="val", long_side=long_side).metrics
    return Variant(name, percentile(times, 50), metrics.coco.ap50, loaded.path.stat().st_size)
