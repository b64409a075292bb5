"""Crops per second that training reads from packed shards, in random order and streamed, as ratios to plain files.

All are read in turn in one process, with as many threads as a training on this machine has. With --cold the system's
cache of these files is dropped before each turn, so that disk reads are included.

    mlcycle data pack data/wider --split train --out data/wider-packed
    python benchmarks/shards.py data/wider data/wider-packed --split train [--cold]
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.datasets.member import Member
from mlcycle.datasets.reading import read
from mlcycle.training.data.crop import Sample
from mlcycle.training.data.samples import Samples, Steps
from mlcycle.training.data.sampling_order import make_order
from mlcycle.training.distributed.device import available_processors
from mlcycle.training.recipes.recipe import Augment

BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", help="The set in files.")
    parser.add_argument("shards", help="The same set, packed.")
    parser.add_argument("--split", default="")
    parser.add_argument("--samples", type=int, default=1600, help="Read this many crops in each turn; default 1600.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cold", action="store_true", help="Drop the system's cache of the files before each turn.")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: on a machine with other work.")
    options = parser.parse_args()
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    files, shards = read(options.files, options.split), read(options.shards, options.split)
    sources = {
        "files": (files, "random"),
        "shards, random": (shards, "random"),
        "shards, streamed": (shards, "streamed"),
    }
    speeds: dict[str, list[float]] = {name: [] for name in sources}
    for number in range(options.rounds):
        for name, (images, kind) in sources.items():
            if options.cold:
                drop_from_cache(images)
            speeds[name].append(crops_per_second(images, kind, number, options.samples, clock))
    for name, found in speeds.items():
        ratios = [one / base for one, base in zip(found, speeds["files"], strict=True)]
        spread = f"({min(ratios):.3f} to {max(ratios):.3f})"
        print(f"{name:17} {statistics.median(found):7.1f} crops/s   {statistics.median(ratios):.3f} {spread}")


def crops_per_second(
    images: Sequence[LabelledImage], kind: str, seed: int, count: int, clock: Callable[[], float]
) -> float:
    augment, order = Augment(), make_order(kind, images, [1.0] * len(images), seed)
    samples = Samples(images, order, augment, seed, None, available_processors())
    start = clock()
    for keys in Steps(range(count // BATCH), BATCH, augment, seed):
        if not all(isinstance(each, Sample) for each in samples.__getitems__(keys)):
            raise SystemExit("an image cannot be read: mlcycle data check lists it")
    return count // BATCH * BATCH / (clock() - start)


def drop_from_cache(images: Sequence[LabelledImage]) -> None:
    """Drops the files of the images from the system's cache."""
    files: set[Path] = {each.path.shard if isinstance(each.path, Member) else each.path for each in images}
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


if __name__ == "__main__":
    main()
