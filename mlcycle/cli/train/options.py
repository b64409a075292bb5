"""The arguments and options of commands that train, or that try a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlcycle.cli import completions
from mlcycle.cli.train.device import Device

RecipeArgument = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE",
        autocompletion=completions.recipes,
        help="A recipe file, or the name of a recipe that comes with mlcycle.",
    ),
]
OverridesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="KEY=VALUE...", help="Values that replace those of the recipe.")
]
DeviceOption = Annotated[
    Device, typer.Option("--device", help="Compute on this device; auto takes the best available.")
]
WarmupOption = Annotated[
    int, typer.Option("--warmup", metavar="N", min=1, help="Make N steps first that are not measured.")
]

# Of `mlcycle train` alone.
RecipeOrRun = Annotated[
    str | None,
    typer.Argument(
        metavar="RECIPE",
        autocompletion=completions.recipes,
        help="A recipe file, or the name of a recipe that comes with mlcycle; with --resume, a run's folder.",
    ),
]
RunOption = Annotated[
    Path | None, typer.Option("--out", metavar="RUN", help="The new run's folder. Default: runs/NAME.")
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Resume a run: give its folder instead of a recipe, or by --out.")
]
DevicesOption = Annotated[
    int | None,
    typer.Option("--devices", metavar="N", min=1, help="Train on N devices of this machine, one process per device."),
]
NodesOption = Annotated[
    str, typer.Option("--nodes", metavar="N", help="Train on N machines; write 1:4 for one to four.")
]
RendezvousOption = Annotated[
    str,
    typer.Option(
        "--rendezvous", metavar="HOST:PORT", help="The address at which several machines connect: one of them."
    ),
]
RestartsOption = Annotated[
    int, typer.Option("--restarts", metavar="N", min=0, help="Restart all processes up to N times if one fails.")
]
TensorboardOption = Annotated[
    bool,
    typer.Option(
        "--tensorboard",
        help="Also write TensorBoard event files to RUN/tensorboard; resumed, a run keeps writing its own.",
    ),
]
ImagesOption = Annotated[
    bool, typer.Option("--images/--no-images", help="Include crops of validation images in the report.")
]

# Of `mlcycle train sweep` alone.
SweepArgument = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE",
        autocompletion=completions.recipes,
        help="A recipe file, or the name of a recipe that comes with mlcycle; with --table, a sweep's folder.",
    ),
]
SweptArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE...", help="Values that replace those of the recipe; [a,b] is swept over."),
]
SweepOption = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="The sweep's folder. Default: sweeps/NAME.")
]
SeedsOption = Annotated[
    int | None,
    typer.Option(
        "--seeds",
        metavar="N",
        min=1,
        help="Train each combination with N seeds, counting up from the recipe's seed. Default: 1.",
    ),
]
RandomOption = Annotated[
    int | None,
    typer.Option(
        "--random", metavar="N", min=1, help="Train N random combinations instead of all, not counting seeds."
    ),
]
ChoiceOption = Annotated[
    int, typer.Option("--seed", metavar="N", help="Seed for --random; another one chooses other combinations.")
]
DevicesPerRunOption = Annotated[
    int | None, typer.Option("--devices", metavar="N", min=1, help="Train each run on N devices. Default: 1.")
]
RetryOption = Annotated[bool, typer.Option("--retry-failed", help="Also resume runs that failed in an earlier call.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Check all recipes and show the plan without training.")]
TableOption = Annotated[bool, typer.Option("--table", help="Show the current table of a sweep without training.")]
