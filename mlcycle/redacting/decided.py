"""The decisions in a run's ledger, each with the image it was made on and the copy that was written for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mlcycle.inference.record import Identity
from mlcycle.redacting import decisions
from mlcycle.redacting.decisions import Decision

if TYPE_CHECKING:
    from mlcycle.inference.batch_run import BatchRun

_KIND, _REVISION = "decision", "revision"
# Values of Decided.copy.
UNTOUCHED, NOT_WRITTEN = None, ""


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision in the ledger.

    Attributes:
        digest: of the image and its regions when they were reviewed.
        state: of the image's file, as in its record.
        copy: sha256 of the copy that was written for the decision; NOT_WRITTEN, or UNTOUCHED if the copy of the first
            pass is right.
        by, at: who made it and when, if that was said.
    """

    decision: Decision
    digest: str
    state: str
    copy: str | None = UNTOUCHED
    by: str | None = None
    at: str | None = None


def all_of(run: BatchRun) -> Iterator[tuple[Identity, Decided]]:
    """Yields the decisions of a run by image, also those that were taken back."""
    for identity, value in run.notes.all(_KIND):
        more = {name: value[name] for name in ("digest", "state", "copy", "by", "at")}
        yield identity, Decided(decisions.from_dict(value), **more)


def write(run: BatchRun, identity: Identity, decided: Decided) -> None:
    """Writes a decision into the ledger."""
    values = asdict(decided)
    del values["decision"]
    run.notes.set(_KIND, decided.decision.as_dict() | values, identity)


def remove(run: BatchRun, identity: Identity) -> None:
    """Removes a decision from the ledger."""
    run.notes.remove(_KIND, identity)


def successor(earlier: Decided | None, new: Decided) -> Decided:
    """Returns a new decision on an image with what is known of its copy; the earlier one, if it says the same."""
    if earlier is None:
        return replace(new, copy=NOT_WRITTEN if new.decision.is_change else UNTOUCHED)
    is_same = (earlier.decision, earlier.digest) == (new.decision, new.digest)
    if is_same and new.by in (None, earlier.by):
        return earlier
    of_copy = [(each.decision.removed, each.decision.added, each.digest) for each in (earlier, new)]
    return replace(new, copy=earlier.copy if of_copy[0] == of_copy[1] else NOT_WRITTEN)


def revision(run: BatchRun) -> int:
    """Returns how often decisions were written into the ledger."""
    return run.notes.get(_REVISION) or 0


def raise_revision(run: BatchRun) -> None:
    """Notes that decisions were written."""
    run.notes.set(_REVISION, revision(run) + 1)


def now() -> str:
    """Returns the time for a decision's `at`."""
    return datetime.now(UTC).isoformat(timespec="seconds")
