"""Fault injection in training: does a training that is killed and resumed end exactly as an uninterrupted one?

    python benchmarks/resume.py RECIPE [key=value ...] [--steps 20] [--kills 10] [--device cpu] [--seed 0] [--out DIR]

Needs the extra `train`. Trains 2N steps without interruption and, in a second folder, the same with K kills: half
SIGTERM, half SIGKILL, at random moments, some of them during an evaluation or while a checkpoint is written, each
followed by `mlcycle train --resume`. A single kill is a SIGTERM after N steps. Weights, their EMA, the optimizer's
state, the best EMA, progress, and the reported losses and scores are compared; the exit code is 5 if one bit differs.

Unless key=value changes it, the run saves and evaluates every quarter of N steps, on at most 24 images. --out keeps
both runs, and resumes those that it finds there. On a CPU nothing should differ with the same number of threads; other
devices can add in another order each time.
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

from fault_injection import PHASES
from resume_check import Fault, Outcome, check, small

from mlcycle.errors import GateError, MlcycleError, UsageError
from mlcycle.training.recipes import recipe_file

# Hexadecimal digits of a digest to print.
SHOWN = 12


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--steps", metavar="N", type=_positive, default=20, help="Train 2N steps; default 20.")
    parser.add_argument("--kills", metavar="K", type=_positive, default=10, help="Kill the run this often; default 10.")
    parser.add_argument("--device", default="cpu", help="Train on this device; default cpu.")
    parser.add_argument("--seed", type=int, default=0, help="Kill at other moments with another number.")
    parser.add_argument("--out", metavar="DIR", type=Path, help="Keep both runs here, and resume those that exist.")
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
    """Runs the check, and prints its result.

    Raises:
        UsageError: key=value is malformed, or names the number of steps.
        GateError: the two runs differ, or a checkpoint was lost.
        MlcycleError: a training failed.
    """
    if wrong := [each for each in options.overrides if "=" not in each]:
        raise UsageError(f"{wrong[0]} is not key=value", "name one recipe only")
    kept = [each.partition("=")[0].strip() for each in options.overrides]
    if "schedule.steps" in kept:
        extra = options.overrides[kept.index("schedule.steps")]
        raise UsageError("set the number of steps with --steps", f"leave out {extra}")
    recipe = recipe_file.load(recipe_file.find(options.recipe), options.overrides)
    with _folder(options.out) as folder:
        shortened = small(recipe, 2 * options.steps, kept)
        outcome = check(shortened, folder, count=options.kills, seed=options.seed, device=options.device, report=say)
    report(outcome, options.kills)


def report(outcome: Outcome, requested: int) -> None:
    """Prints both tables, and raises GateError if a value differs."""
    for line in _fault_table(outcome.faults):
        print(line)
    print()
    for each in outcome.compared:
        mine, other = (digest[:SHOWN] for digest in each.digests)
        print(f"{each.name:<18}{mine}  {'=' if each.is_equal else '≠'}  {other}")
    if len(outcome.faults) < requested:
        say(f"warning: the run ended after {len(outcome.faults)} of {requested} kills; raise --steps")
    for each in outcome.compared:
        if not each.is_equal:
            raise GateError(
                f"the run that was killed ends with other {each.name}: {each.difference}",
                "docs/training.md lists the conditions of exact resuming",
            )
    print(f"equal, bit by bit, after {len(outcome.faults)} kills")


def _fault_table(faults: Sequence[Fault]) -> Iterator[str]:
    yield f"{'kills':<10}" + "".join(f"{phase:>16}" for phase in PHASES) + f"{'all':>8}"
    for name in ("SIGTERM", "SIGKILL"):
        phases = [each.phase for each in faults if each.signal == name]
        yield f"{name:<10}" + "".join(f"{phases.count(phase):>16}" for phase in PHASES) + f"{len(phases):>8}"


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
    """Raises SystemExit, so that the trainings end and temporary folders are removed."""
    sys.exit(128 + signal_number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(main())
