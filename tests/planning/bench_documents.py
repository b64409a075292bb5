"""Documents of `mlcycle bench`, with the sections that a plan reads."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LEVELS = 201


def document(service_ms: Sequence[float], workers: int = 1, **sections: dict[str, Any]) -> dict[str, Any]:
    """Returns a document; values of `sections` replace those of the same name."""
    settings = {"provider": "cpu", "threads": 1, "workers": workers, "concurrency": workers, "rate": None}
    whole: dict[str, dict[str, Any]] = {
        "model": {"name": "tiny", "sha256": "aa" * 32},
        "machine": {"cpu": "Abacus", "cores": 2, "system": "Linux x86_64", "load_average": 0.1},
        "settings": settings | {"samples_per_query": None, "target": "process"},
        "data": {"kind": "synthetic", "images": 20, "fingerprint": "synthetic 1"},
        "requests": {"completed": 1000, "completed_per_second": 50.0},
        "energy": {"processors": {"joules_per_image": None}, "gpu": {"joules_per_image": None}},
    }
    found = {name: section | sections.get(name, {}) for name, section in whole.items()}
    return {"schema_version": 3, "kind": "mlcycle bench", "service_ms": list(service_ms), **found}


def constant(milliseconds: float) -> list[float]:
    """Returns service times that do not vary."""
    return [milliseconds] * LEVELS


def rising(low: float, high: float) -> list[float]:
    """Returns service times that are spread evenly, in a random order."""
    values = [low + (high - low) * place / (LEVELS - 1) for place in range(LEVELS)]
    return random.Random(1).sample(values, LEVELS)


def write(path: Path, content: Any) -> Path:
    """Writes a document to a file and returns its path."""
    path.write_text(json.dumps(content))
    return path
