"""The report of a comparison: as a text table and as JSON."""

from __future__ import annotations

import io
import json
import math
from dataclasses import dataclass
from typing import Any

from comparison import Row
from rich.console import Console
from rich.table import Table

from mlcycle.evaluation import wider

SCHEMA_VERSION = 2
# Of all columns but the names, in characters.
COLUMNS_WIDTH = 100


@dataclass(frozen=True, slots=True)
class Report:
    """The detectors, images and results of a comparison.

    Attributes:
        data, split, fingerprint: the labelled set, see mlcycle.datasets.reading.
        images, faces: their numbers; faces to be ignored are not counted.
        long_side: of the images as the detectors get them, in pixels; 0 for the images' own size.
        rows: the detectors' metrics; times are divided by those of the first.
        missing: name of each peer that could not be opened, and why.
        unreadable: name of each image that could not be read, and why.
        failures: name of each detector, its first image that raised an error, and the error.
    """

    data: str
    split: str
    fingerprint: str
    images: int
    faces: int
    long_side: int
    rows: list[Row]
    missing: list[tuple[str, str]]
    unreadable: list[tuple[str, str]]
    failures: list[tuple[str, str, str]]


def as_table(report: Report) -> str:
    """Returns the metrics as lines of text."""
    has_levels = any(row.levels for row in report.rows)
    table = Table(box=None, pad_edge=False, header_style="")
    table.add_column("", no_wrap=True)
    for heading in (
        "AP50",
        *(wider.LEVELS if has_levels else ()),
        "recall",
        "false alarms",
        "median",
        "p95",
        "cpu",
        "x",
    ):
        table.add_column(heading, justify="right")
    for row in report.rows:
        levels = [_share(row.levels[level]) for level in wider.LEVELS] if has_levels else []
        times = [_milliseconds(value) for value in (row.median, row.p95, row.cpu)]
        table.add_row(
            row.detector.name,
            _share(row.ap50),
            *levels,
            _share(row.recall),
            _number(row.false_alarms, ".3f"),
            *times,
            _number(row.ratio, ".2f"),
        )
    stream = io.StringIO()
    width = COLUMNS_WIDTH + max(len(row.detector.name) for row in report.rows)
    Console(file=stream, width=width, highlight=False, markup=False).print(table)
    lines = [line.rstrip() for line in stream.getvalue().splitlines()]
    return "\n".join([*_head(report), "", *lines, "", *_notes(report)])


def _head(report: Report) -> list[str]:
    split = f" ({report.split})" if report.split else ""
    size = f"long side {report.long_side}" if report.long_side else "original size"
    return [
        f"{report.data}{split}, fingerprint {report.fingerprint[:16]}…: {report.images:,} images, "
        f"{report.faces:,} faces, resized to {size}"
    ]


def _notes(report: Report) -> list[str]:
    lines = [
        "recall, false alarms: share of faces found and false alarms per image, at each detector's default threshold",
        "median, p95: milliseconds per image, from pixels in memory to boxes, one thread, all detectors in turn",
        f"cpu: median milliseconds of processor time; x: processor time relative to {report.rows[0].detector.name}",
        "",
    ]
    lines += [f"{row.detector.name}: {row.detector.version}, default {row.detector.threshold}" for row in report.rows]
    lines += [f"{name}: {why}" for name, why in report.missing]
    lines += [f"{name} failed, for example on {image}: {why}" for name, image, why in report.failures]
    lines += [f"{name} could not be read: {why}" for name, why in report.unreadable]
    return lines


def as_json(report: Report) -> str:
    """Returns one JSON document; undefined metrics are null."""
    document = {
        "schema_version": SCHEMA_VERSION,
        "data": {
            "path": report.data,
            "split": report.split,
            "fingerprint": report.fingerprint,
            "images": report.images,
            "faces": report.faces,
            "unreadable": [{"name": name, "message": why} for name, why in report.unreadable],
        },
        "long_side": report.long_side,
        "detectors": [_detector(row) for row in report.rows],
        "missing": [{"name": name, "message": why} for name, why in report.missing],
        "failures": [{"name": name, "image": image, "message": why} for name, image, why in report.failures],
    }
    return json.dumps(document, indent=2, allow_nan=False)


def _detector(row: Row) -> dict[str, Any]:
    return {
        "name": row.detector.name,
        "version": row.detector.version,
        "ap50": _finite(row.ap50),
        "wider": {level: _finite(ap) for level, ap in row.levels.items()} or None,
        "default": {
            "threshold": row.detector.threshold,
            "recall": _finite(row.recall),
            "false_alarms_per_image": _finite(row.false_alarms),
        },
        "milliseconds": {"median": _finite(row.median), "p95": _finite(row.p95), "cpu_median": _finite(row.cpu)},
        "cpu_times_the_first": _finite(row.ratio),
        "failed": row.failed,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _number(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else "-"


def _share(value: float) -> str:
    return _number(value, ".3f")


def _milliseconds(value: float) -> str:
    return _number(value, ".1f")
