"""The gate of a variant with labelled images: it must lose little average precision against its parent."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mlcycle.errors import GateError
from mlcycle.evaluation.coco import AveragePrecision
from mlcycle.evaluation.sizes import BY_HEIGHT
from mlcycle.inference.detect import Detector
from mlcycle.workflows import evaluate

# With fewer labelled faces of a size, its metric is shown but does not decide: a few boxes would change it.
FACES_THAT_COUNT = 300


@dataclass(frozen=True, slots=True)
class Labelled:
    """A labelled set, and the allowed loss.

    Attributes:
        data, split: the set, as `mlcycle evaluate` takes it.
        most_drop: largest loss of AP50, in points (hundredths).
        show: receives the table of both, line by line, even if the variant fails.
        started: as in `mlcycle.workflows.evaluate.evaluate`, once for the parent and once for the variant.
    """

    data: Path
    split: str
    most_drop: float
    show: Callable[[str], None]
    started: Callable[[int], evaluate.Advance]


def keeps_precision(parent: Path | Detector, variant: Path | Detector, labelled: Labelled) -> str:
    """Measures both and returns a sentence with the result.

    Raises:
        GateError: the variant loses more than allowed, over all faces or over those of one height.
        DataError: the labelled set cannot be read.
    """
    options = evaluate.Options(split=labelled.split, official=False)
    both = [
        evaluate.evaluate(each, labelled.data, options, labelled.started).metrics.coco for each in (parent, variant)
    ]
    rows = _rows(*both)
    if not rows[0].faces:
        raise GateError(
            f"{labelled.data} has no labelled faces, so nothing could be measured", "pass another set with --data"
        )
    for line in _table(rows):
        labelled.show(line)
    lost = [row for row in rows if row.counts and not row.drop <= labelled.most_drop]
    if lost:
        worst = max(lost, key=lambda row: row.drop)  # "all faces" comes first, and stays first if all values are NaN
        raise GateError(
            f"the variant loses {worst.drop:.2f} points of AP50 on {worst.name}; {labelled.most_drop:g} are allowed",
            "pass more or other images with --images, or allow more with --max-drop; nothing was written",
        )
    return f"AP50 is {rows[0].parent:.2f} for the parent, {rows[0].variant:.2f} for the variant"


@dataclass(frozen=True, slots=True)
class _Row:
    """AP50 of both in points for faces of one size; `counts` is set if there are enough of them."""

    name: str
    parent: float
    variant: float
    faces: int
    counts: bool

    @property
    def drop(self) -> float:
        return self.parent - self.variant


def _rows(parent: AveragePrecision, variant: AveragePrecision) -> list[_Row]:
    rows = [_Row("all faces", 100 * parent.ap50, 100 * variant.ap50, parent.faces, counts=True)]
    for size in BY_HEIGHT:
        one, other = parent.by_size[size.name], variant.by_size[size.name]
        counts = one.faces >= FACES_THAT_COUNT
        rows.append(_Row(f"faces {size.name}", 100 * one.ap50, 100 * other.ap50, one.faces, counts))
    return rows


def _table(rows: list[_Row]) -> list[str]:
    lines = [f"{'AP50':<18}{'parent':>8}{'variant':>9}{'drop':>7}{'faces':>9}"]
    for row in rows:
        if not math.isnan(row.parent):
            few = "" if row.counts else "   too few to decide"
            lines.append(f"{row.name:<18}{row.parent:>8.2f}{row.variant:>9.2f}{row.drop:>7.2f}{row.faces:>9,}{few}")
    return lines
