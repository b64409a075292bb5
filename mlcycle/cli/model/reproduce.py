"""`mlcycle model reproduce`: checks that a run gives exactly the bytes of a model file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlcycle.cli import console
from mlcycle.extras import extra

if TYPE_CHECKING:
    from mlcycle.training.reproduce import Reproduction


def reproduce(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The model file that `mlcycle freeze` wrote.")],
    run: Annotated[Path, typer.Option("--run", metavar="RUN", help="The run folder from which it was frozen.")],
) -> None:
    """Rebuild a model file from its run, and compare all bytes.

    Writes nothing. Exits 0 if all bytes are equal. Otherwise prints the differences in weights, graph, contract and
    self-test, as `mlcycle model diff` does, and exits 5.

    Thresholds and the self-test's expected output are measured, and their last digits can differ between processors.
    Values of the file that are within rounding are taken over from it, and so are the versions it was frozen with if
    the installed ones give the same graph. The command lists what it took over.

    Example:  mlcycle model reproduce models/face.onnx --run runs/face
    """
    with extra("train", "mlcycle model reproduce"):
        from mlcycle.training.reproduce import reproduce as build_again
    from mlcycle.library.freeze import choosing

    console.say(f"rebuilding {file} from {run} …")
    with choosing(console.Terminal()) as started:
        done = build_again(file, run, started)
    for each in done.taken_over:
        console.say(f"taken over from the file: {each}")
    if done.data != done.file.data:
        _report_differences(done, file, run)
    console.data(f"reproduced {done.file.sha256}  {file}")


def _report_differences(done: Reproduction, file: Path, run: Path) -> None:
    """Prints the differences, as `mlcycle model diff` does, and raises GateError."""
    import hashlib

    from mlcycle.artifact.seal import SealedBytes
    from mlcycle.errors import GateError
    from mlcycle.inspecting import page
    from mlcycle.inspecting.diff import difference, difference_sections
    from mlcycle.inspecting.opened import open_sealed

    rebuilt = SealedBytes(done.data, hashlib.sha256(done.data).hexdigest(), run)
    document = difference.compare(open_sealed(done.file), open_sealed(rebuilt))
    console.say(f"differences, A: {file}, B: rebuilt from {run}")
    page.put(difference_sections.sections(document), console.out_console, console.data)
    if done.another_run:
        raise GateError(
            f"{file} was frozen from another run than {run}: they differ in {_first(done.another_run)}",
            "pass the run from which it was frozen",
        )
    sections = [name for name, same in document["sections"].items() if same is False]
    what = f"its {' and its '.join(sections)}" if sections else "its encoding"
    raise GateError(f"{run} does not reproduce {file}, which differs in {what}", _hint(document))


def _first(names: Sequence[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more values" if len(names) > 1 else "")


def _hint(document: dict[str, Any]) -> str:
    """Returns what to do. Another version of the exporter can write the same network differently."""
    if document["sections"]["graph"] is False and any(
        each["field"].startswith("training.frozen_with.") for each in document["contract"]
    ):
        return "different versions wrote the graph: install those in training.frozen_with of the file"
    return "check what has changed in the run, or train it again from its recipe"
