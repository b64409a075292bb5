"""`mlcycle train profile`: measures where the time of a training step goes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlcycle.cli import console
from mlcycle.cli.evaluate import check_free
from mlcycle.cli.train.device import Device
from mlcycle.cli.train.options import DeviceOption, OverridesArgument, RecipeArgument, WarmupOption
from mlcycle.errors import UsageError
from mlcycle.extras import extra

if TYPE_CHECKING:
    from mlcycle.training.studies.profiling import Profile

BAR = 30
NAME = 48
SUFFIXES = (".json", ".json.gz")


def profile(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    steps: Annotated[int, typer.Option("--steps", metavar="N", min=1, help="Measure N steps, twice.")] = 20,
    warmup: WarmupOption = 10,
    device: DeviceOption = Device.auto,
    trace: Annotated[
        Path, typer.Option("--trace", metavar="FILE", help="Write the Chrome trace to FILE (.json or .json.gz).")
    ] = Path("trace.json.gz"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing trace.")] = False,
) -> None:
    """Measure where the time of a training step goes.

    Runs real training steps and saves nothing. N steps are measured as in normal training, alternating with
    bare steps: forward pass, losses and backward pass of the same network on a constant batch. N more are measured part
    by part; on a GPU each part is then synchronised, so that the parts add up to more than a step takes. Samples are
    read on one thread. Finally, a few steps are recorded by torch's profiler, for the table of operators and for the
    trace, which chrome://tracing and ui.perfetto.dev can open.

    Worker processes (schedule.workers) have read ahead when the steps begin, so if a run later waits for them,
    only a long profile shows it, such as --steps 200.

    FLOP/s count the network's convolutions, forward and backward, a multiplication and an addition as two.

    Example:  mlcycle train profile face-nano schedule.batch=16 --trace nano.json.gz
    """
    if not trace.name.endswith(SUFFIXES):
        raise UsageError(f"{trace} ends with neither {' nor '.join(SUFFIXES)}", "name it trace.json.gz")
    check_free(trace, overwrite)
    with extra("train", "mlcycle train profile"):
        from mlcycle.training.recipes import recipe_file

        chosen = recipe_file.load(recipe_file.find(recipe), overrides or [])
        from mlcycle.training.studies import profiling
    found = profiling.profile(chosen, trace, steps=steps, warmup=warmup, device=device.value, say=console.say)
    for line in _lines(found):
        console.data(line)
    console.data(str(trace))


def _lines(found: Profile) -> Iterator[str]:
    from mlcycle.training.progress import flops

    parts = f" in {found.accumulation} parts" if found.accumulation > 1 else ""
    yield from _table(f"a step{parts} on {found.device}", found.parts)
    yield ""
    yield f"{'operators that take longest':<{NAME}}{'ms':>9}{'share':>8}{'calls':>8}"
    for each in found.operators:
        share = each.seconds / found.step
        yield f"{each.name[: NAME - 1]:<{NAME}}{each.seconds * 1e3:>9.2f}{share:>8.1%}{each.calls:>8.0f}"
    yield ""
    workers = f"; {found.readers} processes read" if found.readers else ""
    yield from _table(f"reading a sample, on one thread{workers}", found.reading)
    yield ""
    yield (
        f"{found.rate('images'):.1f} images/s, {flops.format_rate(found.rate('flops'))}, "
        f"waiting for data {found.waiting:.1%} of the time"
    )
    shares = [each.share for each in found.rounds]
    span = f" ({min(shares):.3f} to {max(shares):.3f} in {len(shares)} rounds)" if len(shares) > 1 else ""
    yield f"share of the bare step's FLOP/s: {found.share:.3f}{span}"


def _table(title: str, parts: Mapping[str, float]) -> Iterator[str]:
    """Yields a table of seconds by name: milliseconds, share and bar."""
    whole = sum(parts.values())
    yield f"{title[: NAME - 1]:<{NAME}}{'ms':>9}{'share':>8}"
    for name, seconds in parts.items():
        share = max(0.0, seconds / whole)
        yield f"{name:<{NAME}}{seconds * 1e3:>9.2f}{share:>8.1%}  {'█' * round(BAR * share)}".rstrip()
    yield f"{'total':<{NAME}}{whole * 1e3:>9.2f}"
