"""The conductor of the second pass: a reviewer's decisions → the ledger → new copies of the images that they change.

It needs no model: the regions are in the ledger. It can be interrupted at any time and started again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlcycle.errors import InputError, UnreadableError
from mlcycle.inference.batch.finished import state_of
from mlcycle.inference.batch.worker_threads import cores, ordered_map
from mlcycle.inference.copies import image_copies, redact
from mlcycle.inference.detect import upright_image
from mlcycle.inference.record import Identity, Record, Source, printable
from mlcycle.redacting import decided, passes
from mlcycle.redacting.decided import Decided
from mlcycle.redacting.decisions import DecidedImage, Decision, DecisionFile
from mlcycle.redacting.image_digest import digest_of
from mlcycle.redacting.run_images import Images

if TYPE_CHECKING:
    from mlcycle.inference.batch_run import BatchRun

COPIES = "redacted"
_AGAIN = "redact the folder again with --resume, and review it again"


def note(run: BatchRun, images: Images, file: DecisionFile, by: str | None = None) -> int:
    """Writes decisions into the ledger, all or none; returns how many are new.

    Args:
        by: who made them; the time is noted too, if it is given.

    Raises:
        InputError: they are of another run, or an image is not in the run or has changed since the review.
    """
    if file.run != passes.identity_of(run):
        what = f"the decisions are of another run than the one in {run.folder}"
        raise InputError(what, "pass the file that was saved from the review.html of this run")
    found = images.find(each.identity for each in file.images)
    checked = {each.identity: _checked(run, images, each, found.get(each.identity)) for each in file.images}
    earlier, new = dict(decided.all_of(run)), 0
    at = decided.now() if by else None
    for identity, each in checked.items():
        before = earlier.get(identity)
        after = decided.successor(before, replace(each, by=by, at=at))
        if after != before:
            decided.write(run, identity, after)
            new += 1
    if new:
        decided.raise_revision(run)
    return new


def drop_outdated(run: BatchRun, images: Images) -> int:
    """Removes the decisions on images that have changed since, or have no copy any more; returns their number."""
    outdated = {identity: each for identity, each in decided.all_of(run) if each.state != run.state(identity)}
    found, dropped = images.find(outdated), 0
    for identity, each in outdated.items():
        source, record = found.get(identity), run.find(identity)
        if source and record and not record.error and _digest(source, record, images) == each.digest:
            copy = decided.NOT_WRITTEN if each.decision.is_change else decided.UNTOUCHED
            decided.write(run, identity, replace(each, state=run.state(identity), copy=copy))
            continue
        decided.remove(run, identity)
        dropped += 1
    return dropped


def redact_again(run: BatchRun, images: Images, advance: Callable[[int], None] = lambda n: None) -> int:
    """Writes the copies that decisions change and that are not there yet; returns their number.

    Raises:
        InputError: an image cannot be read any more.
        OSError: a copy cannot be written.
    """
    due = {identity: each for identity, each in decided.all_of(run) if _is_due(run, identity, each)}
    found = images.find(due)
    # The generator reads the ledger in this thread.
    work = ((source, run.find(identity), due[identity].decision) for identity, source in found.items())
    for identity, digest in ordered_map(lambda item: _write(run, *item), work, cores()):
        decided.write(run, identity, replace(due[identity], copy=digest))
        advance(1)
    return len(found)


def copy_path(run: BatchRun, record: Record) -> Path:
    """Returns where the copy of an image is, from wherever the command runs.

    Raises:
        InputError: the ledger names a place outside the folder of copies.
    """
    copies = run.folder / COPIES
    named = Path(record.copies.get("redacted", ""))
    below = named.parts[len(Path(run.settings["copies"]["redacted"]).parts) :]
    path = copies.joinpath(*below)
    if not below or not path.resolve().is_relative_to(copies.resolve()):
        raise InputError(f"the ledger in {run.folder} names a copy elsewhere", _AGAIN)
    return path


def _checked(run: BatchRun, images: Images, given: DecidedImage, source: Source | None) -> Decided:
    record, name = run.find(given.identity), "" if images.is_private else f" {printable(_name(given))}"
    if record is None or record.error or (record.part and record.part.kind == "frame"):
        raise InputError(f"the decisions name an image{name} that has no copy in the run", _AGAIN)
    state = run.state(given.identity)
    is_same = source is not None and state_of(source, images.conceal) == state
    if source is None or not is_same or _digest(source, record, images) != given.digest:
        raise InputError(f"an image{name} is gone or has changed since the review", _AGAIN)
    try:
        given.decision.must_fit(record)
    except ValueError as problem:
        raise InputError(f"the decision on an image{name} does not fit it: {problem}", _AGAIN) from None
    return Decided(given.decision, given.digest, state)


def _name(image: DecidedImage) -> str:
    file, part = image.identity
    return file.decode("utf-8", "backslashreplace") + (f" page {part}" if part else "")


def _digest(source: Source, record: Record, images: Images) -> str:
    try:
        return digest_of(source, record, images.conceal)
    except UnreadableError:
        return ""


def _is_due(run: BatchRun, identity: Identity, each: Decided) -> bool:
    """Returns whether the copy of an image is not the one that its decision needs."""
    if each.copy is decided.UNTOUCHED:
        return False
    record = run.find(identity)
    if record is None or record.error:
        return False
    if each.copy == decided.NOT_WRITTEN:
        return True
    try:
        with copy_path(run, record).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() != each.copy
    except OSError:
        return True


def _write(run: BatchRun, source: Source, record: Record | None, decision: Decision) -> tuple[Identity, str]:
    """Writes the copy of an image; returns its identity and the copy's sha256."""
    assert record is not None
    path = copy_path(run, record)
    try:
        upright = upright_image(source, run.settings["max-pixels"])
    except UnreadableError as problem:
        raise InputError(f"an image cannot be read any more: {problem.message}", _AGAIN) from None
    copy = redact.redact(upright, boxes_of(record, decision), run.settings["redaction"])
    image_copies.save(copy, path, overwrite=True, token=run.token)
    return source.identity, hashlib.sha256(path.read_bytes()).hexdigest()


def boxes_of(record: Record, decision: Decision) -> np.ndarray:
    """Returns the boxes that are covered after a decision, x1 y1 x2 y2 in pixels, shape (N, 4)."""
    kept_N = [row + 1 not in decision.removed for row in range(len(record.scores_N))]
    return np.concatenate([record.boxes_N4[kept_N], np.array(decision.added, np.float64).reshape(-1, 4)])


def decisions_of(run: BatchRun) -> Iterator[tuple[Record, Decided]]:
    """Yields the record and the decision of each image that was reviewed."""
    for identity, each in decided.all_of(run):
        record = run.find(identity)
        if record is not None and not record.error and each.decision.is_made:
            yield record, each
