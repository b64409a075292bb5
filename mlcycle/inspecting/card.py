"""The conductor of `mlcycle model inspect`: a model file → the document behind its card; reads from top to bottom."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlcycle.artifact.contract import CONTRACT_KEY
from mlcycle.artifact.seal import SealedBytes, read_sealed
from mlcycle.artifact.structure import section_digests, structure_of
from mlcycle.inference.session import Session, open_session
from mlcycle.inspecting import graph, known_answer, multiply_adds
from mlcycle.inspecting.opened import read_contract

SCHEMA_VERSION = 1


def examine(path: Path) -> dict[str, Any]:
    """Verifies a model file, loads it, runs its self-test and counts what it computes.

    Returns the document: file, sha256, bytes, contract, sections, graph, multiply_adds, self_test, and the names of the
    digest and the signature beside it, as JSON has them.

    Raises:
        ModelFileError: the file cannot be used.
    """
    sealed = read_sealed(path)
    session = open_session(sealed, provider="cpu")
    _, contract = read_contract(session.runtime.get_modelmeta().custom_metadata_map[CONTRACT_KEY])
    return {
        "schema_version": SCHEMA_VERSION,
        "file": str(sealed.path),
        "sha256": sealed.sha256,
        "bytes": len(sealed.data),
        "contract": contract,
        "sections": section_digests(sealed.data),
        "graph": _graph(sealed),
        "multiply_adds": _costs(sealed, session),
        "self_test": _self_test(session),
        "digest": _beside(sealed.path, "sha256"),
        "signature": _beside(sealed.path, "sig"),
    }


def as_json(document: dict[str, Any]) -> str:
    """Returns the document as text, in ASCII, so that nothing in it can command a terminal."""
    return json.dumps(document, indent=2, ensure_ascii=True)


def _graph(sealed: SealedBytes) -> dict[str, Any]:
    return graph.figures(structure_of(sealed.data), sealed.data)


def _costs(sealed: SealedBytes, session: Session) -> list[dict[str, Any]]:
    sizes = multiply_adds.sizes_for(session.contract)
    return [
        {"width": size.width, "height": size.height, "batch": size.batch, "count": multiply_adds.measure(sealed, size)}
        for size in sizes
    ]


def _self_test(session: Session) -> dict[str, Any] | None:
    """Says what the file knows the answer to, and how far the answer here is from it."""
    known, tolerance = session.self_test, session.tolerance
    if known is None or tolerance is None:
        return None
    facts = known_answer.facts(known) | {
        "tolerance": known_answer.tolerance_as_dict(tolerance),
        "provider": session.provider,
        "distance": None,
        "within": False,
        "why_not": None,
    }
    try:
        distance = session.distance()
    except Exception as problem:  # onnxruntime has a dozen classes
        return facts | {"why_not": " ".join(str(problem).split())[:200]}
    assert distance is not None
    return facts | {"distance": known_answer.distance_as_dict(distance), "within": distance.within(tolerance)}


def _beside(path: Path, kind: str) -> str | None:
    """Returns the name of the file beside a model file that has this ending more; a signature is not checked here."""
    beside = path.with_name(f"{path.name}.{kind}")
    return beside.name if beside.is_file() else None
