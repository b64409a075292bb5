"""`mlcycle.export`: a variant of a model file, or what another runtime or a server loads."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mlcycle.artifact import bundled
from mlcycle.errors import UsageError
from mlcycle.extras import extra
from mlcycle.progress import Advance, Progress, Silent
from mlcycle.results import Exported

if TYPE_CHECKING:
    from mlcycle.exporting.gates.precision_drop import Labelled

Form = Literal["onnx", "openvino", "web", "triton", "kserve", "tensorrt"]


def export(  # noqa: PLR0913 (options for people, each with a default)
    model: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    precision: Literal["float16", "bfloat16", "int8"] | None = None,
    input_size: tuple[int, int] | None = None,
    opset: int | None = None,
    selection: Literal["graph", "none"] = "graph",
    format: Form = "onnx",
    images: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] = (),
    count: int = 64,
    data: str | os.PathLike[str] | None = None,
    split: str = "",
    max_drop: float = 0.5,
    onnxruntime_web: str | os.PathLike[str] | None = None,
    storage_uri: str = "",
    progress: Progress | None = None,
) -> Exported:
    """Makes a variant of a model file, or writes it for another runtime, as `mlcycle export` does.

    Nothing is written unless parent and variant agree: on `images` they find the same faces, or on `data` the variant
    loses at most `max_drop` points of AP50.

    Args:
        model: a model file, the name of a bundled one, or what `freeze` returned.
        out: the file or folder to write; None takes NAME-CHANGE-DIGEST next to the model.
        precision: what to compute in: float16, bfloat16 or int8.
        input_size: width and height in pixels of the one input that the variant takes.
        opset: version of ONNX's operators.
        selection: none writes a folder with a graph of `input_size` that returns the boxes of all cells.
        format: onnx for a variant; else what another runtime loads, of a model as it is.
        images: image files, or folders of them, such as the model will see; int8 takes its activation ranges from them.
        count: how many of them to use, spread over all.
        data: a labelled set to compare on in their place.
        split: of the labelled set; "" takes val, or the only one.
        max_drop: points of AP50 that the variant may lose on it.
        onnxruntime_web: for web, the folder of the npm package onnxruntime-web.
        storage_uri: for kserve, where the folder will be, such as s3://models/face.
        progress: where to report; None is silent.

    Raises:
        MissingExtraError: the extra `export` is not installed.
        UsageError: nothing would change, or a variant and a format are requested at once.
        ModelFileError: the model file cannot be used, or cannot become that.
        InputError: there are too few images, or the file exists.
        GateError: parent and variant differ; then nothing was written.
    """
    change = (precision, None if selection == "none" else input_size, opset)
    if any(change) and (format != "onnx" or selection == "none"):
        raise UsageError("a variant and its format are two steps", "make the variant first, then export that")
    if format != "onnx" and selection == "none":
        raise UsageError("a format is written with the graph's selection", f"leave out selection, or format {format}")
    from mlcycle.inference.sources import named_files
    from mlcycle.library.inputs import paths_of
    from mlcycle.workflows.evaluate import spread

    files, target = spread(named_files(paths_of(images)), count), None if out is None else Path(out)
    with extra("export", "mlcycle.export"):
        from mlcycle.exporting import export as variants
        from mlcycle.exporting import package
    with ExitStack() as bar:
        labelled = None if data is None else _labelled(Path(data), split, max_drop, progress or Silent(), bar)
        evidence = variants.Evidence(files, labelled)
        if format == "onnx" and selection == "graph":
            return variants.export(bundled.locate(model), variants.Change(*change), target, evidence)
        runtime = None if onnxruntime_web is None else Path(onnxruntime_web)
        settings = package.Settings(runtime, storage_uri, input_size)
        form = "raw" if format == "onnx" else format
        return package.package(bundled.locate(model), form, target, evidence, settings)


def _labelled(data: Path, split: str, max_drop: float, progress: Progress, bar: ExitStack) -> Labelled:
    from mlcycle.exporting.gates.precision_drop import Labelled

    def started(images: int) -> Advance:
        bar.close()  # the parent's, before the variant's begins
        return bar.enter_context(progress.bar("measuring", images))

    return Labelled(data, split, max_drop, progress.say, started)
