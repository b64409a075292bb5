"""`mlcycle demo`: training, freezing and inference on real images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlcycle.cli import console
from mlcycle.extras import extra

if TYPE_CHECKING:
    from mlcycle.demo.conductor import DemoSummary


def demo(
    folder: Annotated[Path, typer.Option("--folder", metavar="DIR", help="Folder for all files.")] = Path("demo"),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start again and remove the files of an earlier demo.")
    ] = False,
) -> None:
    """Train, freeze and run a small detector on real images, in a few minutes.

    The detector is trained on real faces, frozen into one file, and run on images that were not used for training. A
    second run repeats no finished step, and resumes an interrupted one. Exits with 5 if a face is missed.

    Example:  mlcycle demo --folder demo
    """
    with extra("train,demo", "mlcycle demo"):
        for package in ("torch", "onnx", "skimage", "matplotlib"):
            _must_have(package)
        from mlcycle.demo.conductor import check, run_demo
    summary = run_demo(folder, overwrite=overwrite, say=console.say, quiet=console.is_quiet())
    _print(summary)
    check(summary)


def _must_have(package: str) -> None:
    # Only the commands that the demo runs import these; importing them here would take seconds.
    import importlib.util

    if importlib.util.find_spec(package) is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)


def _print(summary: DemoSummary) -> None:
    from rich.table import Table

    table = Table(title="Training and inference compared; inference is for one image", title_justify="left")
    for heading in ("", "training", "inference", "ratio"):
        table.add_column(heading, justify="left" if not heading else "right")
    for row in summary.rows:
        table.add_row(row.name, row.training, row.inference, row.ratio)
    out = console.out_console()
    out.print(table)
    console.data(f"Model file: {summary.frozen.name}, {summary.frozen.size:,} bytes, sha256 {summary.frozen.sha256}")
    for result in summary.results:
        console.data(f"{result.image}: {result.verdict}")
    console.data(f"Page: {summary.page}")
