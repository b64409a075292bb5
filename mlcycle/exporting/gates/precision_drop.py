"""How much average precision does a variant lose against its parent? The gate where there are labelled images."""

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

# Of a size of which fewer faces than these are labelled, the figure is shown, but a few lucky boxes would decide.
FACES_THAT_COUNT = 300


@dataclass(frozen=True, slots=True)
class Labelled:
    """Labelled images to measure on, and what may be lost on them.

    Attributes:
        data, split: the set, as `mlcycle evaluate` takes it.
        most_drop: points of AP50 (hundredths) that the variant may have less than its parent.
        show: is given the table of both, also if the variant fails.
        started: as in `mlcycle.workflows.evaluate.evaluate`, once for the parent and once for the variant.
    """

    data: Path
    split: str
    most_drop: float
    show: Callable[[str], None]
    started: Callable[[int], evaluate.Advance]


def keeps_precision(parent: Path | Detector, variant: Path | Detector, labelled: Labelled) -> str:
    """Measures both and returns what to say of it.

    Raises:
        GateError: the variant loses more than it may, over all faces or over those of one height.
        DataError: the labelled set cannot be read.
    """
    options = evaluate.Options(split=labelled.split)
    both = [
        evaluate.evaluate(each, labelled.data, options, labelled.started).metrics.coco for each in (parent, variant)
    ]
    rows = _rows(*both)
    if not rows[0].faces:
        raise GateError(f"no face is labelled in {labelled.data}, so nothing could be measured", "name another --data")
    labelled.show(_table(rows))
    lost = [row for row in rows if row.counts and not row.drop <= labelled.most_drop]
    if lost:
        worst = max(lost, key=lambda row: row.drop)  # "all faces" stands first, and stays so if nothing is a number
        raise GateError(
            f"the variant loses {worst.drop:.2f} points of AP50 on {worst.name}; {labelled.most_drop:g} may be lost",
            "name more and other images by --images, or allow more with --max-drop; nothing was written",
        )
    return f"AP50 {rows[0].parent:.2f} of the parent, {rows[0].variant:.2f} of the variant"


@dataclass(frozen=True, slots=True)
class _Row:
    """AP50 in points of both for faces of one size; `counts` says whether there are enough of them."""

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


def _table(rows: list[_Row]) -> str:
    lines = [f"{'AP50':<18}{'parent':>8}{'variant':>9}{'drop':>7}{'faces':>9}"]
    for row in rows:
        if not math.isnan(row.parent):
            few = "" if row.counts else "   too few to decide"
            lines.append(f"{row.name:<18}{row.parent:>8.2f}{row.variant:>9.2f}{row.drop:>7.2f}{row.faces:>9,}{few}")
    return "\n".join(lines)
