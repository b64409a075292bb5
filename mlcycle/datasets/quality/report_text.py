"""The report of a check as text."""

from __future__ import annotations

from collections.abc import Iterator

from mlcycle.counted import counted
from mlcycle.datasets.quality.findings import ERRORS, WARNINGS, CheckReport

EIGHTHS = " ▏▎▍▌▋▊▉"
NAMED = 5
MAX_BAR = 60


def report_text(report: CheckReport, title: str, width: int = 80, named: int = NAMED) -> str:
    """Returns counts, a histogram of the faces' heights, and the findings, as lines of at most about `width`.

    Args:
        report: of one set.
        title: the set's name.
        width: of the terminal in characters.
        named: number of findings listed for each kind.
    """
    lines = [title, *_counts(report), ""]
    if report.faces:
        lines += ["height of faces in pixels", *_histogram(report, width), ""]
    for heading, kinds in (("errors", ERRORS), ("warnings", WARNINGS)):
        found = list(_findings(report, kinds, named))
        lines += [heading, *found, ""] if found else []
    return "\n".join([*lines, _last_line(report)])


def _counts(report: CheckReport) -> Iterator[str]:
    rows = [
        (report.images, "images"),
        (report.without_faces, "of them without a face"),
        (report.faces, "faces"),
        (report.with_landmarks, "of them with all five landmarks"),
        (report.ignored, "boxes to be ignored"),
    ]
    for count, what in rows:
        if count or what in ("images", "faces"):
            yield f"{count:>9,}  {what}"


def _histogram(report: CheckReport, width: int) -> Iterator[str]:
    edges, counts = report.height_edges, report.height_counts
    shown = [index for index, count in enumerate(counts) if count]
    if not shown:  # no height is finite
        return
    space = max(10, min(MAX_BAR, width - 26))
    for index in range(shown[0], shown[-1] + 1):
        low = edges[index]
        label = f"{low}–{edges[index + 1]}" if index + 1 < len(edges) else f"{low} and more"
        yield f"{label:>12}  {counts[index]:>7,}  {bar(counts[index] / max(counts), space)}".rstrip()


def bar(share: float, space: int) -> str:
    """Returns a bar of `share` of `space` characters, in eighths; any share above 0 has at least one eighth."""
    eighths = max(round(share * space * 8), 1 if share else 0)
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def _findings(report: CheckReport, kinds: dict[str, str], named: int) -> Iterator[str]:
    for kind, found in report.by_kind().items():
        if kind not in kinds:
            continue
        yield f"{len(found):>9,}  {kind}: {kinds[kind]}"
        yield from (f"{'':11}{finding.image}: {finding.detail}" for finding in found[:named])
        if len(found) > named:
            yield f"{'':11}and {len(found) - named:,} more; --format json lists all"


def _last_line(report: CheckReport) -> str:
    if not report.findings:
        return "no errors and no warnings"
    return f"{counted(report.errors, 'error')}, {counted(report.warnings, 'warning')}"
