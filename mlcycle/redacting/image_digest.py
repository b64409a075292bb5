"""What ties a decision to an image: the bytes of its file and the regions that were found in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

from mlcycle.inference.decoding import reading
from mlcycle.inference.record import Record, Source

_BLOCK = 1 << 20


def digest_of(source: Source, record: Record, conceal: Callable[[str], str] = str) -> str:
    """Returns a digest of an image's file and of its regions, in their order.

    Args:
        conceal: hides a text that would identify the file; for a private run.

    Raises:
        UnreadableError: the file cannot be read.
    """
    contents = hashlib.sha256()
    with reading.open_file(source.path) as file:
        while block := file.read(_BLOCK):
            contents.update(block)
    regions = [face["box"] for face in record.faces()]
    return conceal(hashlib.sha256(json.dumps([contents.hexdigest(), regions]).encode()).hexdigest())
