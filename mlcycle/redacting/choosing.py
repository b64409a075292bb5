"""Which images of a run a reviewer sees, and in which order: the most doubtful ones first."""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlcycle.inference.record import Identity
from mlcycle.redacting import decided

if TYPE_CHECKING:
    from mlcycle.inference.batch_run import BatchRun

KINDS = DOUBTFUL, EMPTY, SAMPLE, DECIDED = "doubtful", "empty", "sample", "decided"
# So many of the other images are shown, chosen at random.
SAMPLE_SIZE = 20


@dataclass(frozen=True, slots=True)
class Choice:
    """The images to review.

    Attributes:
        kinds: identity → why it is shown, in the order of the review.
        counts: kind → number of such images in the run; SAMPLE counts all that are neither doubtful nor empty.
    """

    kinds: dict[Identity, str]
    counts: Counter[str]


def choose(run: BatchRun, below: float, limit: int) -> Choice:
    """Chooses at most `limit` images that have a copy.

    First those with doubtful regions, which score less than `below`, most of them first; then those without any region;
    then a sample of the rest; and last those on which a decision was made already. Frames of videos are left out.
    """
    made = {identity for identity, each in decided.all_of(run) if each.decision.is_made}
    counts: Counter[str] = Counter()
    first = {kind: _First(min(limit, SAMPLE_SIZE) if kind == SAMPLE else limit) for kind in KINDS}
    for number, (identity, why, doubtful) in enumerate(_candidates(run, below)):
        kind = DECIDED if identity in made else why
        counts[kind] += 1
        rank = {DOUBTFUL: -doubtful, SAMPLE: _hash(run.token, identity)}.get(kind, 0)
        first[kind].add((rank, number), identity)
    chosen = [(identity, kind) for kind in KINDS for identity in first[kind].in_order()]
    return Choice(dict(chosen[:limit]), counts)


class _First:
    """Keeps the items with the lowest ranks, so that memory does not grow with the run."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._heap: list[tuple[int, int, Identity]] = []  # the highest rank first, so negated

    def add(self, rank: tuple[int, int], identity: Identity) -> None:
        keep = heapq.heappush if len(self._heap) < self._size else heapq.heappushpop
        keep(self._heap, (-rank[0], -rank[1], identity))

    def in_order(self) -> list[Identity]:
        return [identity for _, _, identity in sorted(self._heap, reverse=True)]


def _candidates(run: BatchRun, below: float) -> Iterator[tuple[Identity, str, int]]:
    """Yields identity, kind and number of doubtful regions of each image with a copy."""
    for record in run.records():
        if record.error or "redacted" not in record.copies or (record.part and record.part.kind == "frame"):
            continue
        doubtful = int((record.scores_N < below).sum())
        yield record.identity, DOUBTFUL if doubtful else SAMPLE if len(record.scores_N) else EMPTY, doubtful


def _hash(token: str, identity: Identity) -> int:
    return int.from_bytes(hashlib.blake2b(repr((token, identity)).encode(), digest_size=8).digest())
