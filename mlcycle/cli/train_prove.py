"""`mlcycle train prove-resume`: whether a run that is killed and gone on with ends bit by bit as an unbroken one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlcycle.cli import console
from mlcycle.cli.extras import extra
from mlcycle.cli.train_device import Device
from mlcycle.errors import GateError, UsageError

if TYPE_CHECKING:
    from mlcycle.training.prove import Fallen, Proof

# Hexadecimal digits of a digest that are shown.
SHOWN = 12


def prove_resume(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A file, or the name of a recipe that comes with mlcycle.")
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Values that replace the recipe's.")
    ] = None,
    steps: Annotated[int, typer.Option("--steps", metavar="N", min=1, help="Twice as many are trained.")] = 20,
    kills: Annotated[int, typer.Option("--kills", metavar="K", min=1, help="How often the run is killed.")] = 10,
    device: Annotated[Device, typer.Option("--device", help="Where to compute.")] = Device.cpu,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Keep both runs here; gone on with if it is there.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Another number chooses other moments.")] = 0,
) -> None:
    """Train 2N steps in one go and, beside it, the same with K kills; compare all bits of what both end with.

    Half of the kills are SIGTERM and half SIGKILL, at random moments, some of them aimed at an evaluation or at a
    checkpoint that is being written. After each the run is gone on with, as by `mlcycle train --resume`. One kill is a
    SIGTERM after N steps.

    The recipe is trained with 2N steps, and unless KEY=VALUE says otherwise it saves and evaluates every quarter of N
    steps, on 24 photographs at most. Weights, their average, the optimizer's memory, the best weights, the reported
    losses and scores are compared; the exit code is 5 if one bit differs. On a CPU none should, as long as the number
    of threads is the same; on other devices a sum may be added up in another order each time.

    Example:  mlcycle train prove-resume demo --kills 50
    """
    with extra("train", "mlcycle train prove-resume"):
        from mlcycle.training import prove, recipe_file

    values = overrides or []
    if wrong := [each for each in values if "=" not in each]:
        raise UsageError(f"{wrong[0]} is no KEY=VALUE", "one recipe at a time")
    kept = [each.partition("=")[0].strip() for each in values]
    if "schedule.steps" in kept:
        raise UsageError("the number of steps is given by --steps", f"leave out {values[kept.index('schedule.steps')]}")
    chosen = prove.small(recipe_file.load(recipe_file.find(recipe), values), 2 * steps, kept)
    with _folder(out) as folder:
        proof = prove.prove(chosen, folder, count=kills, seed=seed, device=device.value, tell=console.say)
    _tell(proof, kills)


@contextmanager
def _folder(out: Path | None) -> Iterator[Path]:
    if out is not None:
        yield out
        return
    with tempfile.TemporaryDirectory(prefix="mlcycle-prove-") as scratch:
        yield Path(scratch)


def _tell(proof: Proof, wanted: int) -> None:
    """Prints both tables, and raises GateError where something differs."""
    for line in _kill_table(proof.fallen):
        console.data(line)
    console.data("")
    for each in proof.compared:
        mine, other = (digest[:SHOWN] for digest in each.digests)
        console.data(f"{each.what:<18}{mine}  {'=' if each.is_equal else '≠'}  {other}")
    if len(proof.fallen) < wanted:
        console.warn(f"the run came to its end after {len(proof.fallen)} of {wanted} kills; more --steps take more")
    for each in proof.compared:
        if not each.is_equal:
            raise GateError(
                f"the run that was killed ends with other {each.what}: {each.difference}",
                "see docs/training.md for what exactness depends on",
            )
    console.data(f"equal, bit by bit, after {len(proof.fallen)} kills")


def _kill_table(fallen: Sequence[Fallen]) -> Iterator[str]:
    from mlcycle.training.kills import PLACES

    yield f"{'kills':<10}" + "".join(f"{place:>16}" for place in PLACES) + f"{'all':>8}"
    for name in ("SIGTERM", "SIGKILL"):
        places = [each.place for each in fallen if each.signal == name]
        yield f"{name:<10}" + "".join(f"{places.count(place):>16}" for place in PLACES) + f"{len(places):>8}"
