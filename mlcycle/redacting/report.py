"""The report of a redacted folder, for those who ask what was done: as JSON and as a page, without any pixels."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import mlcycle
from mlcycle import files
from mlcycle.inference.batch.ledger_row import GONE
from mlcycle.inference.record import Record
from mlcycle.redacting import passes

if TYPE_CHECKING:
    from mlcycle.inference.batch_run import BatchRun

SCHEMA_VERSION = 1
JSON_NAME, PAGE_NAME = "report.json", "report.html"
# So many images without a copy are named; all are counted.
MAX_NAMED = 1000
_COUNTS = (
    *("images", "frames", "copies", "gone", "regions", "doubtful_regions"),
    *("images_with_doubtful_regions", "images_without_a_face"),
)


def write(run: BatchRun) -> dict[str, Any]:
    """Writes report.json and report.html into the folder of a run; returns the document.

    Raises:
        InputError: they cannot be written.
    """
    from mlcycle.redacting import report_page

    document = document_of(run)
    text = json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False) + "\n"
    files.write(run.folder / JSON_NAME, text, overwrite=True)
    files.write(run.folder / PAGE_NAME, report_page.render(document), overwrite=True)
    return document


def document_of(run: BatchRun) -> dict[str, Any]:
    """Returns what was done in a run, for JSON; docs/review.md describes the keys."""
    done, settings = passes.all_of(run), run.settings
    last = done[-1]
    counts, without_copy = _counted(run, last["doubtful_below"])
    signed_by = {each["model"]["signed_by"] for each in done}
    return {
        "schema_version": SCHEMA_VERSION,
        "mlcycle": mlcycle.__version__,
        "run": passes.identity_of(run),
        "private": bool(settings.get("private")),
        # Of a private run the setting is a hash.
        "folder": None if settings.get("private") else settings.get("folder"),
        "model": last["model"] | {"signed_by": signed_by.pop() if len(signed_by) == 1 else None},
        "operating_point": last["operating_point"],
        "threshold": last["threshold"],
        "doubtful_below": last["doubtful_below"],
        "method": settings["redaction"],
        "long_sides": settings["long-sides"],
        "max_pixels": settings["max-pixels"],
        "counts": counts,
        "without_copy": without_copy,
        "passes": [
            {name: each[name] for name in ("started", "finished", "images", "provider", "mlcycle")} for each in done
        ],
    }


def _counted(run: BatchRun, below: float) -> tuple[dict[str, int], dict[str, Any]]:
    """Returns the counts of all records, and the images without a copy by their errors."""
    counts: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    named: list[dict[str, Any]] = []
    for record in run.records():
        counts["images"] += 1
        counts["frames"] += record.part is not None and record.part.kind == "frame"
        counts["copies"] += "redacted" in record.copies
        counts["gone"] += GONE in record.note
        if record.error:
            errors[record.error[0]] += 1
            named += [_without_copy(record)] if len(named) < MAX_NAMED else []
            continue
        doubtful = int((record.scores_N < below).sum())
        counts["regions"] += len(record.scores_N)
        counts["doubtful_regions"] += doubtful
        counts["images_with_doubtful_regions"] += doubtful > 0
        counts["images_without_a_face"] += not len(record.scores_N)
    total = errors.total()
    return (
        {name: counts[name] for name in _COUNTS},
        {"count": total, "by_code": dict(sorted(errors.items())), "images": named, "not_named": total - len(named)},
    )


def _without_copy(record: Record) -> dict[str, Any]:
    assert record.error
    code, message = record.error
    part = record.part.as_dict() if record.part else None
    return {"input": record.input, "part": part, "code": code, "message": message}
