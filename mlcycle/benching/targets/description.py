"""What a target runs, and on what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a target runs, and on what.

    Attributes:
        name, sha256: of the model.
        provider: what runs it.
        threads: of the model; None if onnxruntime chooses.
        workers: images processed at once.
        queue: images that may wait for a worker before others are rejected; None without such a limit.
        machine: cpu, cores and system.
    """

    name: str
    sha256: str
    provider: str
    threads: int | None
    workers: int
    queue: int | None
    machine: Mapping[str, Any]
