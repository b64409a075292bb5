"""`mlcycle.evaluate`: a model measured on a labelled set."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

from mlcycle.artifact import bundled
from mlcycle.counted import counted
from mlcycle.extras import extra
from mlcycle.inference.batch.worker_threads import cores
from mlcycle.library.long_side import LongSide, long_sides_of
from mlcycle.library.model import Model
from mlcycle.progress import Advance, Progress, Silent
from mlcycle.workflows.evaluate import Evaluation, Options
from mlcycle.workflows.evaluate import evaluate as measure

__all__ = ["Evaluation", "evaluate"]


def evaluate(
    model: Model | str | os.PathLike[str],
    data: str | os.PathLike[str],
    *,
    split: str = "",
    long_side: LongSide | None = None,
    limit: int = 0,
    workers: int = 0,
    attributes: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Measures a model on labelled images, as `mlcycle evaluate` does.

    Args:
        model: a model file, the name of a bundled one, or a loaded model.
        data: a labelled set in the layout of WIDER FACE, COCO or YOLO, or packed shards.
        split: of the set; "" takes val, or the only one.
        long_side: of the input in pixels, or "original", or several of these; None takes the model's own.
        limit: take only so many images, spread over the set; 0 takes all.
        workers: threads; 0 takes one for each core.
        attributes: a CSV file with columns file, face and attributes of the faces, by which recall is measured.
        progress: where to report; None is silent.

    Raises:
        ModelFileError: the model file cannot be used.
        DataError: the labelled set cannot be read.
        UsageError: a long side is given for a model whose input has one size.
        MissingExtraError: the official evaluation of WIDER FACE needs the extra `evaluate`.
    """
    shown = progress or Silent()
    subject, file = (model.detector_for(2), model.path) if isinstance(model, Model) else (bundled.locate(model), model)
    table = None if attributes is None else Path(attributes)
    options = Options(split, long_sides_of(long_side), workers or cores(), limit, table)
    with ExitStack() as bar, extra("evaluate", "the official evaluation of WIDER FACE"):

        def started(images: int) -> Advance:
            shown.say(f"evaluating {os.fspath(file)} on {counted(images, 'image')} of {os.fspath(data)}")
            return bar.enter_context(shown.bar("evaluating", images))

        return measure(subject, Path(data), options, started)
