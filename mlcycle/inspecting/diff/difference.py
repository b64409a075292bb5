"""The conductor of `mlcycle model diff`: two model files → the document of their differences. Read it top to bottom."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mlcycle.artifact.contract import CONTRACT_KEY, SEAL_KEY, SECTIONS_KEY
from mlcycle.artifact.dotted_names import differing_names, flatten
from mlcycle.artifact.self_test import SELF_TEST_KEY
from mlcycle.artifact.structure import Structure, section_digests
from mlcycle.inspecting.diff import weights
from mlcycle.inspecting.opened import Opened

SCHEMA_VERSION = 2
# Sections of a model file, in the order of the report.
SECTIONS = ("weights", "graph", "contract", "self-test")
# Metadata entries that are sections, or are derived from them.
_OWN = {CONTRACT_KEY, SELF_TEST_KEY, SECTIONS_KEY, SEAL_KEY}


def compare(
    a: Opened, b: Opened, images: Sequence[Path] = (), advance: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Compares the contents of two model files, and their detections if there are images.

    Args:
        advance: called after each image.

    Returns the JSON document.

    Raises:
        ModelFileError: one of them cannot be used.
    """
    structures = a.structure, b.structure
    return {
        "schema_version": SCHEMA_VERSION,
        "a": a.as_dict(),
        "b": b.as_dict(),
        "same_bytes": a.sealed.sha256 == b.sealed.sha256,
        "related": _related(a, b),
        "sections": _sections(a, b),
        "contract": list(_fields(a.contract_json, b.contract_json)),
        "self_test": list(_fields(_self_test(a), _self_test(b))),
        "metadata": _other_entries(*structures),
        "operators": list(_operators(*structures)),
        "weights": weights.compare(structures[0].tensors, a.sealed.data, structures[1].tensors, b.sealed.data),
        "detections": _detections((a, b), images, advance) if images else None,
    }


def _related(one: Opened, other: Opened) -> str | None:
    """Returns a sentence if one was exported from the other, or both from the same file."""
    parents = one.contract.parent, other.contract.parent
    if parents[1] == one.sealed.sha256:
        return "B was exported from A"
    if parents[0] == other.sealed.sha256:
        return "A was exported from B"
    return "both were exported from the same file" if parents[0] and parents[0] == parents[1] else None


def _sections(one: Opened, other: Opened) -> dict[str, bool | None]:
    """Returns for each section whether its digest is equal in both; None if neither has the section."""
    digests = section_digests(one.sealed.data), section_digests(other.sealed.data)
    found = {name: [each.get(name) for each in digests] for name in SECTIONS}
    return {name: None if pair == [None, None] else pair[0] == pair[1] for name, pair in found.items()}


def _fields(one: dict[str, Any], other: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields the fields that differ, by their dotted names, and whether a field exists in one file only."""
    a, b = dict(flatten(one)), dict(flatten(other))
    for name in differing_names(one, other):
        only_in = None if name in a and name in b else "a" if name in a else "b"
        yield {"field": name, "a": a.get(name), "b": b.get(name), "only_in": only_in}


def _self_test(opened: Opened) -> dict[str, Any]:
    return asdict(opened.self_test) if opened.self_test else {}


def _other_entries(one: Structure, other: Structure) -> list[str]:
    """Returns the names of other metadata entries that differ; nothing reads them."""
    return [name for name in differing_names(one.metadata, other.metadata) if name not in _OWN]


def _operators(one: Structure, other: Structure) -> Iterator[dict[str, Any]]:
    a, b = one.operators, other.operators
    for domain, name in sorted(a.keys() | b.keys()):
        if a[domain, name] != b[domain, name]:
            yield {"operator": name, "domain": domain, "a": a[domain, name], "b": b[domain, name]}


def _detections(files: tuple[Opened, Opened], images: Sequence[Path], advance: Callable[[], None]) -> dict[str, Any]:
    from mlcycle.inference.detect import load_sealed
    from mlcycle.inspecting.diff import predictions

    one, other = (load_sealed(each.sealed, provider="cpu") for each in files)
    thresholds = one.contract.thresholds["balanced"], other.contract.thresholds["balanced"]
    return predictions.compare(
        lambda image: one.detect_file(image, threshold=thresholds[0] / 2),
        lambda image: other.detect_file(image, threshold=thresholds[1] / 2),
        thresholds,
        images,
        advance,
    )
