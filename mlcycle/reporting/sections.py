"""What pages of figures have in common: their frame, tiles, cards, and the tables by size of the face and by group."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from importlib import resources

import numpy as np

from mlcycle.evaluation import coco
from mlcycle.evaluation.bootstrap import Interval
from mlcycle.evaluation.coco import AveragePrecision
from mlcycle.evaluation.groups import GroupPrecision
from mlcycle.evaluation.sizes import BY_HEIGHT
from mlcycle.reporting import charts
from mlcycle.reporting.charts import Curve, Mark

# Groups shown at once; the rest unfolds.
GROUPS = 12

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
{sections}
</main>
</body>
</html>
"""


def page(title: str, sections: Sequence[str]) -> str:
    """Returns a page in one piece, which loads nothing; `title` is text, the sections are HTML."""
    style = resources.files("mlcycle.reporting").joinpath("page.css").read_text("utf-8")
    return PAGE.format(title=escape(title), style=style, sections="\n".join(filter(None, sections)))


def tiles(metrics: Sequence[tuple[str, str, str]]) -> str:
    """Returns the figures to be seen first: of each its name, its value (HTML) and a note."""
    cells = (
        f"<div class=tile><span>{escape(name)}</span><b>{value}</b><small>{escape(note)}</small></div>"
        for name, value, note in metrics
    )
    return f"<div class=tiles>{''.join(cells)}</div>"


def card(title: str, drawing: str) -> str:
    """Returns a drawing (HTML) in a frame, under its title."""
    return f"<div class=card><h3>{escape(title)}</h3>{drawing}</div>"


def table(title: str, columns: Sequence[str], rows: Sequence[str]) -> str:
    """Returns a table that scrolls where the window is narrow, also by the keyboard.

    Args:
        title: what the table is of, said to those who do not see it.
        columns: the heads, HTML elements `th`.
        rows: HTML elements `tr`.
    """
    return (
        f'<div class=scroll tabindex=0 role=region aria-label="{escape(title, quote=True)}"><table>'
        f"<thead><tr>{''.join(columns)}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def heads(*names: str) -> list[str]:
    """Returns the heads of a table's columns."""
    return [f"<th>{escape(name)}</th>" for name in names]


def fits(whole: AveragePrecision) -> list[Curve]:
    """Returns the precision-recall curves of all faces, at two ways of being strict about the box."""
    return [
        curve("IoU 0.50", whole.ap50, whole.precision_T101[0]),
        curve("IoU 0.75", whole.ap75, whole.precision_T101[5]),
    ]


def heights(whole: AveragePrecision) -> list[Curve]:
    """Returns the precision-recall curve of each range of heights that there are faces of."""
    parts = ((size.name, whole.by_size.get(size.name)) for size in BY_HEIGHT)
    return [curve(name, part.ap50, part.precision_T101[0]) for name, part in parts if part and part.faces]


def curve(name: str, figure: float, precision_101: np.ndarray) -> Curve:
    """Returns a curve at COCO's recalls, as far as it reaches."""
    reached = precision_101 > 0
    return Curve(name, figure, coco.RECALLS[reached], precision_101[reached])


def precision_recall(title: str, curves: Sequence[Curve], marks: Sequence[Mark] = ()) -> str:
    """Returns precision-recall curves in a card."""
    return card(title, charts.precision_recall(curves, title, marks))


def sizes(whole: AveragePrecision) -> str:
    """Returns the section of average precision by the size of the face."""
    rows = [("all", whole.ap, whole.ap50, whole.ap75, whole.faces)]
    rows += [(name, part.ap, part.ap50, part.ap75, part.faces) for name, part in whole.by_size.items()]
    lines = [
        f'<tr><th scope="row">{escape(name)}</th><td>{share(ap)}</td><td>{share(ap50)}</td><td>{share(ap75)}</td>'
        f"<td>{faces:,}</td></tr>"
        for name, ap, ap50, ap75, faces in rows
    ]
    columns = ["<td></td>", *heads("AP", "AP50", "AP75", "faces")]
    return f"""<h2>By size of the face</h2>
<p>COCO's average precision. Small, medium and large part at 32² and 96² square pixels; heights are those of the labels,
in pixels of the file.</p>
{table("Average precision by size of the face", columns, lines)}"""


def groups(measured: Sequence[GroupPrecision]) -> str:
    """Returns the section of figures by group, hardest first; nothing where there is no group."""
    if not measured:
        return ""
    columns = "<td></td><th>AP50</th><td class=wide></td><th class=wide>AP</th>"
    columns += "<th>recall</th><th>faces</th><th>images</th>"

    def some(title: str, those: Sequence[GroupPrecision]) -> str:
        return table(title, [columns], [_group(each) for each in those])

    rest = ""
    if measured[GROUPS:]:
        others = f"the other {len(measured) - GROUPS}"
        rest = f"<details><summary>{others}</summary>{some(f'By group, {others}', measured[GROUPS:])}</details>"
    return f"""<h2>By group</h2>
<p>What the set files its images under (in WIDER FACE the event), hardest first. Recall is at the balanced
threshold. A group of few images says little.</p>
{some("By group", measured[:GROUPS])}{rest}"""


def _group(group: GroupPrecision) -> str:
    width = 0 if math.isnan(group.ap50) else group.ap50 * 100
    return (
        f'<tr><th scope="row">{escape(group.name.replace("_", " "))}</th><td>{share(group.ap50)}</td>'
        f'<td class="bar wide"><i style="width:{width:.1f}%"></i></td>'
        f"<td class=wide>{share(group.ap)}</td><td>{share(group.recall)}</td><td>{group.faces:,}</td>"
        f"<td>{group.images:,}</td></tr>"
    )


def share(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def between(interval: Interval) -> str:
    return "–" if math.isnan(interval.least) else f"{interval.least:.3f} to {interval.most:.3f}"


def percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{value * 100:.1f} %"
