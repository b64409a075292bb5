"""How fast a training step is: images a second of mlcycle's, as a share of the bare step and of a plain loop's.

The bare step is the same network's forward pass, losses and backward pass on one batch that never changes, with as many
threads and in the same precision; everything that a real training adds (reading, cutting and changing images, the
optimizer, the moving average) makes the share smaller. The plain loop (plain_loop.py) is a training of the same network
with the same losses on the same images, as tutorials write it, with a worker for each processor.

Each is a process of its own; they take turns of a few steps, the others stopped meanwhile, so that what else the
machine does hits all alike. With `taskset -c 0` all of them, and the workers, have the same single core.

    python benchmarks/training.py RECIPE [key=value …] [--rounds 10] [--steps 10]
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

CONTESTANTS = ("mlcycle", "bare", "plain")
# Steps at the beginning that are not counted: caches fill, memory is taken.
WARM_UP = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--rounds", type=int, default=10, help="How often each has its turn.")
    parser.add_argument("--steps", type=int, default=10, help="Steps of a turn.")
    parser.add_argument("--as", dest="contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    options = parser.parse_intermixed_args()
    if options.contestant:
        serve(options)
        return
    contestants = {name: Contestant(name, options) for name in CONTESTANTS}
    try:
        rates = [measure(contestants, number) for number in range(options.rounds)]
    finally:
        for each in contestants.values():
            each.end()
    for name, told in (("bare", "the bare step"), ("plain", "a plain loop")):
        shares = [each["mlcycle"] / each[name] for each in rates]
        print(f"of {told}: median {statistics.median(shares):.3f} ({min(shares):.3f} to {max(shares):.3f})")


def measure(contestants: dict[str, Contestant], number: int) -> dict[str, float]:
    """Gives each its turn; returns images a second."""
    rates = {name: each.turn() for name, each in contestants.items()}
    text = ", ".join(f"{name} {rate:.1f}" for name, rate in rates.items())
    share, times = rates["mlcycle"] / rates["bare"], rates["mlcycle"] / rates["plain"]
    print(f"round {number + 1}: {text} images/s: {share:.3f} of the bare step, {times:.2f} plain loops", flush=True)
    return rates


class Contestant:
    """A process that makes some steps each time it is asked; otherwise it and all that it started is stopped."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        words = [sys.executable, __file__, options.recipe, *options.overrides, "--steps", str(options.steps)]
        self.process = subprocess.Popen(
            [*words, "--as", name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self._hear()  # warm now
        os.killpg(self.process.pid, signal.SIGSTOP)

    def turn(self) -> float:
        os.killpg(self.process.pid, signal.SIGCONT)
        assert self.process.stdin
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        rate = self._hear()
        os.killpg(self.process.pid, signal.SIGSTOP)
        return rate

    def _hear(self) -> float:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            sys.exit("a contestant has ended; what it said stands above")
        return float(line)

    def end(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def serve(options: argparse.Namespace) -> None:
    """Makes steps whenever a line comes in, and answers with images a second."""
    make, images = contestant(options)
    make(WARM_UP)
    print(0.0, flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        make(options.steps)
        print(options.steps * images / (time.perf_counter() - started), flush=True)


def contestant(options: argparse.Namespace) -> tuple[Callable[[int], object], int]:
    """Returns what makes a number of steps, and how many images each looks at."""
    import torch

    from mlcycle.training.data.training_data import load_training_data
    from mlcycle.training.distributed.device import available_processors, keep_memory, share_processors
    from mlcycle.training.recipes.recipe_file import find, load
    from mlcycle.training.studies.bare_step import Bare
    from mlcycle.training.studies.profiling import TrialTraining

    # All steps alike, or a turn with more large crops than another would be told to have more images than it has.
    recipe = load(find(options.recipe), [*options.overrides, "augment.large=0"])
    training_data, device, batch = load_training_data(recipe.data), torch.device("cpu"), recipe.schedule.batch
    if options.contestant == "mlcycle":
        return TrialTraining(recipe, training_data, device, sys.maxsize, lambda text: None).run_steps, batch
    if options.contestant == "plain":
        from plain_loop import PlainLoop

        step = PlainLoop(recipe, training_data.train, available_processors()).step
    else:
        keep_memory()
        share_processors(device, recipe.schedule.workers)
        step = Bare(recipe, device, batch).step
    return lambda steps: [step() for _ in range(steps)], batch


if __name__ == "__main__":
    main()
