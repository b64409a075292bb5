"""`mlcycle train lr-find`: a learning-rate range test."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlcycle.cli import console
from mlcycle.cli.evaluate import check_free
from mlcycle.cli.train.device import Device
from mlcycle.cli.train.options import DeviceOption, OverridesArgument, RecipeArgument
from mlcycle.errors import MlcycleError, UsageError
from mlcycle.extras import extra
from mlcycle.inference.outputs.output import open_output

if TYPE_CHECKING:
    from mlcycle.training.studies.lr_curve import LrCurve

# With fewer steps the curve is too coarse.
LEAST_STEPS = 20


def lr_find(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    low: Annotated[float, typer.Option("--low", help="Start at this learning rate.")] = 1e-5,
    high: Annotated[
        float, typer.Option("--high", help="End at this learning rate, unless the loss diverges before.")
    ] = 10.0,
    steps: Annotated[
        int, typer.Option("--steps", metavar="N", min=LEAST_STEPS, help="Make N steps from the first rate to the last.")
    ] = 150,
    device: DeviceOption = Device.auto,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="Write the page to FILE.")] = Path(
        "lr-find.html"
    ),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing page.")] = False,
) -> None:
    """Find a learning rate by a learning-rate range test.

    The learning rate rises over a short training until the loss diverges. Batches, augmentation and optimizer are the
    recipe's; no run is created or changed. Prints the rate at which the smoothed loss falls most steeply, and writes a
    page with the curve. (L. N. Smith, Cyclical Learning Rates for Training Neural Networks, 2017.) A long training may
    need a smaller rate; measure it with `mlcycle train sweep`.

    Example:  mlcycle train lr-find demo --out demo-lr.html

    Example:  mlcycle train lr-find mine.yaml schedule.optimizer=adamw --high 1 --steps 200
    """
    if not 0 < low < high < float("inf"):
        raise UsageError(f"rates cannot rise from {low:g} to {high:g}", "give --low and --high, both above 0")
    check_free(out, overwrite)
    with extra("train", "mlcycle train lr-find"):
        from mlcycle.training.recipes import recipe_file
        from mlcycle.training.studies import lr_page

        # Importing torch takes seconds, so a wrong recipe is refused before.
        chosen = recipe_file.load(recipe_file.find(recipe), overrides or [])
        from mlcycle.training.studies import lr_finder
    wanted = lr_finder.LrRange(low, high, steps)
    with console.progress("trying rates", steps) as advance:
        found = lr_finder.find_learning_rate(chosen, wanted, device.value, advance)
    if not found.losses:
        raise MlcycleError("the loss was not finite at the first rate", "lower --low; mlcycle data check")
    words = [each for each in overrides or [] if each.partition("=")[0].strip() != "schedule.learning_rate"]
    if found.suggestion:
        words.append(f"schedule.learning_rate={lr_page.rate_text(found.suggestion.rate)}")
    command = shlex.join(["mlcycle", "train", recipe, *words])
    with open_output(out, overwrite=overwrite) as file:
        file.write(lr_page.render(chosen.name, found, chosen.schedule.learning_rate, command))
    _tell(found, out, command)


def _tell(found: LrCurve, page: Path, command: str) -> None:
    from mlcycle.training.progress.display import sparkline
    from mlcycle.training.studies.lr_page import ending, rate_text

    ceiling = max(found.smoothed_N[0], found.smoothed_N.min())
    drawn = sparkline([min(loss, ceiling) for loss in found.smoothed_N.tolist()], width=60)
    console.say(ending(found))
    console.say(f"loss  {drawn}")
    console.say(f"rate  {rate_text(found.rates[0])}{rate_text(found.rates[-1]):>{60 - len(rate_text(found.rates[0]))}}")
    console.say(f"page: {page}")
    suggestion = found.suggestion
    if suggestion is None:
        raise MlcycleError(
            "no rate can be suggested, because the loss did not fall at any of them",
            "try more --steps, a higher --high, or a lower --low",
        )
    if suggestion.is_at_end:
        console.warn(f"the loss still fell at {rate_text(found.rates[-1])}: a higher --high may suggest another rate")
    console.say(
        f"the loss falls most steeply at {rate_text(suggestion.rate)}, and is lowest at {rate_text(suggestion.lowest)}"
    )
    console.data(rate_text(suggestion.rate))
    console.say(f"next: {command}")
