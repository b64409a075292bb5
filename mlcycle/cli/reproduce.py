"""`mlcycle reproduce`: whether a run gives the very bytes of a model file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlcycle.cli import console
from mlcycle.cli.extras import extra

if TYPE_CHECKING:
    from mlcycle.artifact.comparison import Difference
    from mlcycle.training.reproduce import Reproduction

# Lines shown of a section; a known answer has some hundred numbers.
MOST_LINES = 8


def reproduce(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The model file that `mlcycle freeze` wrote.")],
    run: Annotated[Path, typer.Option("--run", metavar="RUN", help="The run folder that it comes from.")],
) -> None:
    """Build a model file again from its run, and compare every byte.

    Nothing is written. If the sha256 is the same, the exit code is 0; else it is said which of weights, graph, contract
    and self-test differ, and in what, and the exit code is 5.

    Thresholds and the self-test's answer are measured, and another processor may measure other last digits. Where the
    file's own are as near as that, they are taken over, and so are the versions it was frozen with where those of here
    give the same graph; what was taken over is said.

    Example:  mlcycle reproduce models/face.onnx --run runs/face
    """
    with extra("train", "mlcycle reproduce"):
        from mlcycle.training.reproduce import reproduce as build_again
    from mlcycle.cli.freeze_points import choosing

    console.say(f"building {file} again from {run} …")
    with choosing() as started:
        done = build_again(file, run, started)
    for each in done.taken_over:
        console.say(f"taken over from the file: {each}")
    if done.differences:
        _tell(done, file, run)
    console.data(f"reproduced {done.sha256}  {file}")


def _tell(done: Reproduction, file: Path, run: Path) -> None:
    """Says what differs, and raises GateError."""
    from mlcycle.errors import GateError
    from mlcycle.inference.record import printable

    console.say(f"what differs, first as it is in {file}, then as it comes from {run}:")
    for line in _lines(done.differences):
        console.data(printable(line))
    if done.another_run:
        raise GateError(
            f"{run} is another run than the one that {file} comes from: what differs is {_first(done.another_run)}",
            "name the run that it was frozen from",
        )
    sections = list(dict.fromkeys(each.section for each in done.differences))
    raise GateError(f"{run} does not give {file}: what differs is its {' and its '.join(sections)}", _hint(done))


def _lines(differences: Sequence[Difference]) -> Iterator[str]:
    for section, group in groupby(differences, lambda each: each.section):
        lines = [str(each) for each in group]
        shown = lines if console.is_verbose() else lines[:MOST_LINES]
        yield from shown
        if len(shown) < len(lines):
            yield f"{section}: and {len(lines) - len(shown)} values more; -v shows them"


def _first(names: Sequence[str]) -> str:
    from mlcycle.inference.record import printable

    return printable(names[0]) + (f", and {len(names) - 1} values more" if len(names) > 1 else "")


def _hint(done: Reproduction) -> str:
    """Another exporter may write the same network down in another way."""
    if any(each.section == "graph" for each in done.differences) and any(
        each.what.startswith("training.frozen_with.") for each in done.differences
    ):
        return "the versions that wrote the graph differ: install those of the file, training.frozen_with"
    return "train the run again from its recipe, or look into what has changed in it since"
