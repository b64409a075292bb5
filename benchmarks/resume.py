"""A training that is killed and resumed again and again: does it end, bit by bit, as one that was never interrupted?

    python benchmarks/resume.py RECIPE [key=value ...] [--steps 20] [--kills 10] [--device cpu] [--seed 0] [--out DIR]

Needs the extra `train`. Trains 2N steps in one go and, in a second folder, the same with K kills: half SIGTERM, half
SIGKILL, at random moments, some of them aimed at an evaluation or at a checkpoint that is being written, each followed
by `mlcycle train --resume`. One kill is a SIGTERM after N steps. Weights, their EMA, the optimizer's state, the best
EMA, progress, and the reported losses and scores are compared; the exit code is 5 if one bit differs.

Unless key=value says otherwise, the run saves and evaluates every quarter of N steps, on at most 24 images. --out keeps
both runs, and resumes what it finds there. On a CPU nothing should differ as long as the number of threads is the same;
other devices may add up a sum in another order each time.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from fault_injection import PLACES
from resume_check import Fault, Outcome, check, small

from mlcycle.errors import GateError, MlcycleError, UsageError
from mlcycle.training.recipes import recipe_file

# Hexadecimal digits of a digest that are shown.
SHOWN = 12


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--steps", metavar="N", type=_positive, default=20, help="Twice as many are trained.")
    parser.add_argument("--kills", metavar="K", type=_positive, default=10, help="How often the run is killed.")
    parser.add_argument("--device", default="cpu", help="Where to compute.")
    parser.add_argument("--seed", type=int, default=0, help="Another number chooses other moments.")
    parser.add_argument("--out", metavar="DIR", type=Path, help="Keep both runs here, and resume what is there.")
    options = parser.parse_intermixed_args(arguments)
    try:
        run(options)
    except MlcycleError as problem:
        say(f"error: {problem.message}")
        if problem.hint:
            say(f"hint: {problem.hint}")
        return problem.exit_code
    return 0


def run(options: argparse.Namespace) -> None:
    """Checks what was asked for, and prints how it went.

    Raises:
        UsageError: key=value is malformed, or names the number of steps.
        GateError: the two runs differ, or a checkpoint was lost.
        MlcycleError: a training failed.
    """
    if wrong := [each for each in options.overrides if "=" not in each]:
        raise UsageError(f"{wrong[0]} is not key=value", "one recipe at a time")
    kept = [each.partition("=")[0].strip() for each in options.overrides]
    if "schedule.steps" in kept:
        extra = options.overrides[kept.index("schedule.steps")]
        raise UsageError("the number of steps is given by --steps", f"leave out {extra}")
    recipe = recipe_file.load(recipe_file.find(options.recipe), options.overrides)
    with _folder(options.out) as folder:
        chosen = small(recipe, 2 * options.steps, kept)
        outcome = check(chosen, folder, count=options.kills, seed=options.seed, device=options.device, tell=say)
    report(outcome, options.kills)


def report(outcome: Outcome, wanted: int) -> None:
    """Prints both tables, and raises GateError where something differs."""
    for line in _fault_table(outcome.faults):
        print(line)
    print()
    for each in outcome.compared:
        mine, other = (digest[:SHOWN] for digest in each.digests)
        print(f"{each.what:<18}{mine}  {'=' if each.is_equal else '≠'}  {other}")
    if len(outcome.faults) < wanted:
        say(f"warning: the run ended after {len(outcome.faults)} of {wanted} kills; more --steps take more")
    for each in outcome.compared:
        if not each.is_equal:
            raise GateError(
                f"the run that was killed ends with other {each.what}: {each.difference}",
                "see docs/training.md for what exactness depends on",
            )
    print(f"equal, bit by bit, after {len(outcome.faults)} kills")


def _fault_table(faults: Sequence[Fault]) -> Iterator[str]:
    yield f"{'kills':<10}" + "".join(f"{place:>16}" for place in PLACES) + f"{'all':>8}"
    for name in ("SIGTERM", "SIGKILL"):
        places = [each.place for each in faults if each.signal == name]
        yield f"{name:<10}" + "".join(f"{places.count(place):>16}" for place in PLACES) + f"{len(places):>8}"


@contextmanager
def _folder(out: Path | None) -> Iterator[Path]:
    if out is not None:
        yield out
        return
    with tempfile.TemporaryDirectory(prefix="mlcycle-resume-") as scratch:
        yield Path(scratch)


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _terminate(signal_number: int, frame: object) -> NoReturn:
    """Ends by an exception, so that trainings and folders do not outlive this process."""
    sys.exit(128 + signal_number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(main())
