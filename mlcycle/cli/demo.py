"""`mlcycle demo`: the whole cycle on real images, told as a story."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlcycle.cli import console
from mlcycle.extras import extra

if TYPE_CHECKING:
    from mlcycle.demo.story import Told


def demo(
    folder: Annotated[Path, typer.Option("--folder", metavar="DIR", help="Where all of it goes.")] = Path("demo"),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin anew: remove what an earlier demo made.")
    ] = False,
) -> None:
    """Train, freeze and ask: the two lives of a model in a few minutes, on real images.

    A small face detector learns from real faces, is frozen into one file, and is asked about images that it never
    saw. A second run repeats nothing that is done, and goes on where one was broken off. Exits 5 if a face is missed.

    Example:  mlcycle demo --folder demo
    """
    with extra("train,demo", "mlcycle demo"):
        for package in ("torch", "onnx", "skimage", "matplotlib"):
            _must_have(package)
        from mlcycle.demo.story import check, tell
    told = tell(folder, overwrite=overwrite, say=console.say, quiet=console.is_quiet())
    _print(told)
    check(told)


def _must_have(package: str) -> None:
    # Found, not imported: only the commands that the demo runs need these, and importing them all takes seconds.
    import importlib.util

    if importlib.util.find_spec(package) is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)


def _print(told: Told) -> None:
    from rich.table import Table

    table = Table(title="Two lives of one model; inference is for one image", title_justify="left")
    for heading in ("", "training", "inference", "ratio"):
        table.add_column(heading, justify="left" if not heading else "right")
    for row in told.rows:
        table.add_row(row.what, row.training, row.inference, row.ratio)
    out = console.out_console()
    out.print(table)
    console.data(f"The file between them: {told.frozen.name}, {told.frozen.size:,} bytes, sha256 {told.frozen.sha256}")
    for answer in told.answers:
        console.data(f"{answer.image}: {answer.verdict}")
    console.data(f"The page to show: {told.page}")
