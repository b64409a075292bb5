"""The report of a redacted folder, for those who ask what was done: as JSON and as a page, without any pixels."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import mlcycle
from mlcycle import files
from mlcycle.inference.batch.ledger_row import GONE
from mlcycle.inference.record import Identity, Record
from mlcycle.redacting import passes, second_pass
from mlcycle.redacting.decided import Decided

if TYPE_CHECKING:
    from mlcycle.inference.batch_run import BatchRun

SCHEMA_VERSION = 1
JSON_NAME, PAGE_NAME = "report.json", "report.html"
# So many images without a copy are named; all are counted.
MAX_NAMED = 1000
_COUNTS = (
    *("images", "frames", "copies", "gone", "regions", "doubtful_regions"),
    *("images_with_doubtful_regions", "images_without_a_face", "images_not_reviewed"),
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
    made, decisions = _decisions(run)
    counts, without_copy = _counted(run, last["doubtful_below"], made)
    counts["covered_regions"] = counts["regions"] - decisions["removed_regions"] + decisions["added_regions"]
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
        "decisions": decisions,
        "passes": [
            {name: each[name] for name in ("started", "finished", "images", "provider", "mlcycle")} for each in done
        ],
    }


def _decisions(run: BatchRun) -> tuple[set[Identity], dict[str, Any]]:
    """Returns the images that were reviewed, and what was decided on them."""
    made: set[Identity] = set()
    counts: Counter[str] = Counter()
    by: Counter[str] = Counter()
    named: list[dict[str, Any]] = []
    for record, each in second_pass.decisions_of(run):
        made.add(record.identity)
        counts["images"] += 1
        counts["accepted"] += each.decision.accepted
        counts["changed_images"] += each.decision.is_change
        counts["removed_regions"] += len(each.decision.removed)
        counts["added_regions"] += len(each.decision.added)
        by.update([each.by] if each.by else [])
        named += [_decision(record, each)] if len(named) < MAX_NAMED else []
    names = ("images", "accepted", "changed_images", "removed_regions", "added_regions")
    document = {name: counts[name] for name in names} | {"by": dict(sorted(by.items()))}
    return made, document | {"list": named, "not_listed": counts["images"] - len(named)}


def _decision(record: Record, each: Decided) -> dict[str, Any]:
    faces = record.faces()
    removed = [
        {"box": faces[number - 1]["box"], "score": faces[number - 1]["score"]} for number in each.decision.removed
    ]
    return _name_of(record) | each.decision.as_dict() | {"removed": removed, "by": each.by, "at": each.at}


def _counted(run: BatchRun, below: float, made: set[Identity]) -> tuple[dict[str, int], dict[str, Any]]:
    """Returns the counts of all records, and the images without a copy by their errors.

    Args:
        below: regions that score less are doubtful.
        made: the images that were reviewed.
    """
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
        is_open = record.identity not in made and not (record.part and record.part.kind == "frame")
        counts["images_not_reviewed"] += is_open and (doubtful > 0 or not len(record.scores_N))
    total = errors.total()
    return (
        {name: counts[name] for name in _COUNTS},
        {"count": total, "by_code": dict(sorted(errors.items())), "images": named, "not_named": total - len(named)},
    )


def _without_copy(record: Record) -> dict[str, Any]:
    assert record.error
    return _name_of(record) | {"code": record.error[0], "message": record.error[1]}


def _name_of(record: Record) -> dict[str, Any]:
    return {"input": record.input, "part": record.part.as_dict() if record.part else None}
