"""Kinds of machines, from the documents that `mlcycle bench` measured on them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlcycle.benching.baseline import KIND, SCHEMA_VERSION
from mlcycle.benching.targets.server import NETWORK
from mlcycle.counted import counted
from mlcycle.errors import InputError, UsageError
from mlcycle.planning.service_times import ServiceTimes, pooled

HINT = "pass a file written by mlcycle bench --out FILE"
# Of a measurement with a rate and several workers.
LEAST_UTILISATION = 0.5
# Section and key of what all documents of one kind must share.
SAME = (
    *(("machine", key) for key in ("cpu", "cores", "system")),
    *(("settings", key) for key in ("provider", "threads", "workers", "target")),
    ("model", "sha256"),
)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of machine.

    Attributes:
        name: as the user calls it.
        service: time of a request in work while `workers` requests are.
        workers: requests in work at once, as measured.
        overhead_ms: of a round trip beside the wait and the time in work; 0 if the model ran in a process.
        joules_per_image: mean of its measurements; None if one lacks it.
        price: per hour; None if not given.
        documents: its measurements, at least one.
    """

    name: str
    service: ServiceTimes
    workers: int
    overhead_ms: float
    joules_per_image: float | None
    price: float | None
    documents: Sequence[dict[str, Any]]

    @property
    def capacity(self) -> float:
        """Returns the requests per second of one machine that is always busy."""
        return self.workers / self.service.mean * 1000


def named(texts: Sequence[str]) -> dict[str, list[Path]]:
    """Parses files, each with or without the name of its kind: NAME=FILE. Without, its base name is the name.

    Raises:
        UsageError: a name is missing, or two files without a name have the same base name.
    """
    found: dict[str, list[Path]] = {}
    for text in texts:
        name, equals, file = text.partition("=")
        if not equals or Path(text).is_file():
            name, file = Path(text).stem, text
            if name in found:
                raise UsageError(f"two files are called {name}", "name the kinds of machine: NAME=FILE NAME=FILE")
        if not name or not file:
            raise UsageError(f"{text!r} has no name or no file", "pass FILE or NAME=FILE")
        found.setdefault(name, []).append(Path(file))
    return found


def read(name: str, paths: Sequence[Path], price: float | None = None) -> Kind:
    """Reads the documents of one kind of machine.

    Raises:
        InputError: a file cannot be read, is of another kind, or the files are of different machines.
    """
    documents = [_document(path) for path in paths]
    for path, document in zip(paths[1:], documents[1:], strict=True):
        _must_be_alike(name, documents[0], document, path)
    service = pooled([ServiceTimes(np.array(each["service_ms"], np.float64)) for each in documents])
    joules = [_joules_per_image(document) for document in documents]
    known = [each for each in joules if each is not None]
    return Kind(
        name,
        service,
        documents[0]["settings"]["workers"],
        sum(_overhead_ms(each) for each in documents) / len(documents),
        sum(known) / len(known) if len(known) == len(joules) else None,
        price,
        documents,
    )


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text("utf-8"))
    except OSError as problem:
        raise InputError(f"{path} cannot be read: {problem.strerror}", HINT) from None
    except ValueError:
        raise InputError(f"{path} is not JSON", HINT) from None
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise InputError(f"{path} is not a measurement of mlcycle bench", HINT)
    if document.get("schema_version") != SCHEMA_VERSION:
        version = document.get("schema_version")
        raise InputError(f"{path} has schema_version {version!r}, not {SCHEMA_VERSION}", "measure it again")
    if not _is_complete(document):
        raise InputError(f"{path} lacks the service times", HINT)
    _must_be_busy(document, path)
    return document


def _must_be_busy(document: dict[str, Any], path: Path) -> None:
    """Raises InputError if several workers were seldom busy together: then they are slower than one alone."""
    settings, workers = document["settings"], document["settings"]["workers"]
    if workers == 1:
        return
    if settings.get("samples_per_query"):
        why, hint = "was measured in queries of several images", "measure without multi-stream"
    elif settings["concurrency"] < workers:
        why = f"was measured with {counted(settings['concurrency'], 'connection')}"
        hint = f"measure with at least --concurrency {workers}"
    elif settings.get("rate") and (share := _utilisation(document)) < LEAST_UTILISATION:
        why, hint = f"was measured at a utilisation of {share:.0%}", "measure with a higher --rate, or without one"
    else:
        return
    raise InputError(f"{path} {why}: its {workers} workers were seldom busy together", hint)


def _utilisation(document: dict[str, Any]) -> float:
    """Returns the share of the time of a measurement for which a worker was busy."""
    milliseconds = document["service_ms"]
    per_second = document["requests"]["completed_per_second"]
    return per_second * sum(milliseconds) / len(milliseconds) / 1000 / document["settings"]["workers"]


def _is_complete(document: dict[str, Any]) -> bool:
    """Returns whether the document has the sections that are read, and service times."""
    sections = [document.get(name) for name in ("machine", "settings", "model", "data", "energy", "requests")]
    values = document.get("service_ms")
    if not all(isinstance(section, dict) for section in sections) or not isinstance(values, list):
        return False
    if not all(isinstance(value, int | float) and 0 <= value < np.inf for value in values):
        return False
    settings = document["settings"]
    counts = (settings.get("concurrency"), settings.get("workers"))
    if not all(isinstance(count, int) and count > 0 for count in counts):
        return False
    return sum(values) > 0 and isinstance(document["requests"].get("completed_per_second"), int | float)


def _overhead_ms(document: dict[str, Any]) -> float:
    """Returns the median time of a round trip that was neither wait nor work; 0 if there was no server."""
    return (document.get("stages_ms", {}).get(NETWORK) or {}).get("p50") or 0.0


def _must_be_alike(name: str, first: dict[str, Any], other: dict[str, Any], path: Path) -> None:
    for section, key in SAME:
        expected, found = first[section].get(key), other[section].get(key)
        if expected != found:
            raise InputError(
                f"{path} is not of the kind {name}: its {section} {key} is {found}, not {expected}",
                "give each kind of machine its own name: NAME=FILE NAME=FILE",
            )


def _joules_per_image(document: dict[str, Any]) -> float | None:
    """Returns the energy of an image on all counters that measured, or None."""
    values = [(each or {}).get("joules_per_image") for each in document["energy"].values()]
    known = [value for value in values if value is not None]
    return sum(known) if known else None
