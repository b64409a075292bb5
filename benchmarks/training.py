"""Training speed: images per second of mlcycle, as a share of the bare step and relative to a plain loop.

The bare step is the forward pass, losses and backward pass of the same network on one fixed batch, with as many threads
and in the same precision; everything that a real training adds (reading, cropping and augmenting images, the optimizer,
the EMA) makes the share smaller. The plain loop (plain_loop.py) trains the same network with the same losses on the
same images, as in tutorials, with a worker for each core.

Each runs in its own process; they take turns of a few steps while the others are stopped, so that other load on the
machine affects all of them. With `taskset -c 0` all of them, and their workers, share one core.

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
# First steps, which are not counted: caches fill, memory is allocated.
WARM_UP = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--rounds", type=int, default=10, help="Turns of each; default 10.")
    parser.add_argument("--steps", type=int, default=10, help="Steps in a turn; default 10.")
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
    for name, title in (("bare", "the bare step"), ("plain", "a plain loop")):
        shares = [each["mlcycle"] / each[name] for each in rates]
        print(f"of {title}: median {statistics.median(shares):.3f} ({min(shares):.3f} to {max(shares):.3f})")


def measure(contestants: dict[str, Contestant], number: int) -> dict[str, float]:
    """Runs one turn of each; returns images per second."""
    rates = {name: each.turn() for name, each in contestants.items()}
    text = ", ".join(f"{name} {rate:.1f}" for name, rate in rates.items())
    share, times = rates["mlcycle"] / rates["bare"], rates["mlcycle"] / rates["plain"]
    print(f"round {number + 1}: {text} images/s: {share:.3f} of the bare step, {times:.2f} plain loops", flush=True)
    return rates


class Contestant:
    """A process that runs some steps in each turn; between turns it and its children are stopped."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        words = [sys.executable, __file__, options.recipe, *options.overrides, "--steps", str(options.steps)]
        self.process = subprocess.Popen(
            [*words, "--as", name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self._read_rate()  # the warm-up is done
        os.killpg(self.process.pid, signal.SIGSTOP)

    def turn(self) -> float:
        os.killpg(self.process.pid, signal.SIGCONT)
        assert self.process.stdin
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        rate = self._read_rate()
        os.killpg(self.process.pid, signal.SIGSTOP)
        return rate

    def _read_rate(self) -> float:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            sys.exit("a contestant has ended; its messages are above")
        return float(line)

    def end(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def serve(options: argparse.Namespace) -> None:
    """Runs steps for each line on stdin, and prints images per second."""
    run_steps, images = contestant(options)
    run_steps(WARM_UP)
    print(0.0, flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        run_steps(options.steps)
        print(options.steps * images / (time.perf_counter() - started), flush=True)


def contestant(options: argparse.Namespace) -> tuple[Callable[[int], object], int]:
    """Returns a function that runs a number of steps, and the number of images per step."""
    import torch

    from mlcycle.training.data.training_data import load_training_data
    from mlcycle.training.distributed.device import available_processors, keep_memory, share_processors
    from mlcycle.training.recipes.recipe_file import find, load
    from mlcycle.training.studies.bare_step import BareStep
    from mlcycle.training.studies.profiling import TrialTraining

    # No large crops: turns with more of them would not be comparable.
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
        step = BareStep(recipe, device, batch).step
    return lambda steps: [step() for _ in range(steps)], batch


if __name__ == "__main__":
    main()
