"""Crops a second that training reads from packed shards, at random and streamed, as ratios to the same set in files.

All are read in turn in one process, by as many threads as a training on this machine has. With --cold the system is
asked before each to forget what it has read of these files, so that the disk has a part in it.

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
    parser.add_argument("--samples", type=int, default=1600, help="Crops that are read in each turn.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cold", action="store_true", help="Begin each turn with nothing of the set in memory.")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu where other work runs beside.")
    options = parser.parse_args()
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    files, shards = read(options.files, options.split), read(options.shards, options.split)
    ways = {"files": (files, "random"), "shards, random": (shards, "random"), "shards, streamed": (shards, "streamed")}
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(options.rounds):
        for name, (images, kind) in ways.items():
            if options.cold:
                forget(images)
            speeds[name].append(crops_a_second(images, kind, number, options.samples, clock))
    for name, found in speeds.items():
        ratios = [one / base for one, base in zip(found, speeds["files"], strict=True)]
        spread = f"({min(ratios):.3f} to {max(ratios):.3f})"
        print(f"{name:17} {statistics.median(found):7.1f} crops/s   {statistics.median(ratios):.3f} {spread}")


def crops_a_second(
    images: Sequence[LabelledImage], kind: str, seed: int, count: int, clock: Callable[[], float]
) -> float:
    rule, order = Augment(), make_order(kind, images, [1.0] * len(images), seed)
    samples = Samples(images, order, rule, seed, None, available_processors())
    begin = clock()
    for keys in Steps(range(count // BATCH), BATCH, rule, seed):
        if not all(isinstance(each, Sample) for each in samples.__getitems__(keys)):
            raise SystemExit("an image cannot be read: mlcycle data check names it")
    return count // BATCH * BATCH / (clock() - begin)


def forget(images: Sequence[LabelledImage]) -> None:
    """Asks the system to drop its copy of the files that the images lie in."""
    places: set[Path] = {each.path.shard if isinstance(each.path, Member) else each.path for each in images}
    for place in places:
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


if __name__ == "__main__":
    main()
