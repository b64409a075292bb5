"""The passes over a run, noted in its ledger: with which model, from when to when, and how many images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import mlcycle

if TYPE_CHECKING:
    from mlcycle.inference.batch_run import BatchRun
    from mlcycle.inference.detect import Detector

_KIND = "passes"


def facts_of(detector: Detector, threshold: float, signed_by: str | None) -> dict[str, Any]:
    """Returns what a report says of the model of a pass.

    Args:
        threshold: the least score of a covered region.
        signed_by: fingerprint of the key whose signature of the model file was required.
    """
    thresholds = detector.contract.thresholds
    points = sorted(thresholds, key=lambda name: name == "sensitive", reverse=True)
    return {
        "model": {"name": detector.contract.name, "sha256": detector.sha256, "signed_by": signed_by},
        "operating_point": next((name for name in points if thresholds[name] == threshold), None),
        "threshold": threshold,
        "doubtful_below": thresholds["balanced"],
        "provider": detector.provider,
    }


@contextmanager
def noted(run: BatchRun, facts: Mapping[str, Any]) -> Iterator[None]:
    """Notes a pass in the ledger: that it has started, and after the block that it has finished."""
    earlier = all_of(run)
    this = {"started": _now(), "finished": None, "images": None, "mlcycle": mlcycle.__version__, **facts}
    run.notes.set(_KIND, [*earlier, this])
    yield
    # A resumed pass without any image left to process is not worth a line.
    if run.tally.images or not earlier or earlier[-1]["finished"] is None:
        run.notes.set(_KIND, [*earlier, this | {"finished": _now(), "images": run.tally.images}])
    else:
        run.notes.set(_KIND, earlier)


def all_of(run: BatchRun) -> list[dict[str, Any]]:
    """Returns the passes over a run, in order."""
    return run.notes.get(_KIND) or []


def identity_of(run: BatchRun) -> str:
    """Returns what distinguishes a run from all others, as 64 hexadecimal digits."""
    text = json.dumps([run.token, run.settings], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
