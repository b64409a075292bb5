"""The list of suspects: a text table, CSV for corrections, JSON Lines for programs."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from mlcycle.counted import counted
from mlcycle.csv_rows import Rows
from mlcycle.evaluation.contradiction import KINDS
from mlcycle.workflows.suspects import Suspect, Suspects

BOX = ("x1", "y1", "x2", "y2")
COLUMNS = (
    *("rank", "image", "label", "kind", "bits", "score", "overlap"),
    *BOX,
    *(f"suggested_{each}" for each in BOX),
    "verdict",
)
EXPLAINED = {
    "no face": "the model finds no face there",
    "other box": "the model finds the face elsewhere, or of another size",
    "other points": "the model finds the landmarks elsewhere, or they are outside of the box",
    "no label": "the model finds a face that has no label",
}


def as_csv(suspects: Sequence[Suspect]) -> str:
    """Returns a row for each suspect; cells of a missing box are empty, and so is the last column, for corrections."""
    text = io.StringIO()
    rows = Rows(text)
    rows.writerow(COLUMNS)
    for rank, each in enumerate(suspects, 1):
        boxes = [*_cells(each.labelled_4), *_cells(each.suggested_4)]
        metrics = [f"{value:.4g}" for value in (each.bits, each.score, each.overlap)]
        rows.writerow([rank, each.image.name, each.label or "", each.kind, *metrics, *boxes, ""])
    return text.getvalue()


def as_json_lines(suspects: Sequence[Suspect]) -> str:
    """Returns one JSON object per line and suspect, with the path of its image."""
    return "".join(f"{json.dumps(_record(rank, each))}\n" for rank, each in enumerate(suspects, 1))


def as_table(found: Suspects, rows: int) -> str:
    """Returns counts of each kind and the first `rows` suspects as text."""
    likely = found.likely()
    lines = [
        f"{counted(found.labels, 'label')} on {counted(found.images, 'image')}, compared with {found.model};"
        f" {counted(len(likely), 'suspect')}"
    ]
    counts = Counter(each.kind for each in likely)
    lines += [f"{counts[kind]:>9,}  {kind}: {EXPLAINED[kind]}" for kind in KINDS if counts[kind]]
    if likely and rows:
        lines += ["", f"{'':>4}  bits  score  {'kind':12}  image, label"]
    for rank, each in enumerate(likely[:rows], 1):
        label = f", label {each.label}" if each.label else ""
        score = f"{each.score:.2f}" if each.score else "–"
        lines.append(f"{rank:>4}  {each.bits:4.1f}  {score:>5}  {each.kind:12}  {each.image.name}{label}")
    return "\n".join(lines)


def _record(rank: int, each: Suspect) -> dict[str, Any]:
    return {
        "rank": rank,
        "image": each.image.name,
        "path": str(each.image.path),
        "label": each.label or None,
        "kind": each.kind,
        "bits": round(each.bits, 4),
        "score": round(each.score, 4),
        "overlap": round(each.overlap, 4),
        "box": _list(each.labelled_4),
        "suggested_box": _list(each.suggested_4),
    }


def _list(box_4: np.ndarray | None) -> list[float] | None:
    return None if box_4 is None else [round(float(value), 2) for value in box_4]


def _cells(box_4: np.ndarray | None) -> list[str]:
    return [""] * 4 if box_4 is None else [f"{value:.2f}".rstrip("0").rstrip(".") for value in box_4]
