"""The conductor of `mlcycle model inspect`: a model file → the document of its model card. Read it top to bottom."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlcycle.artifact.contract import CONTRACT_KEY
from mlcycle.artifact.seal import SealedBytes, read_sealed
from mlcycle.artifact.structure import section_digests, structure_of
from mlcycle.inference.session import Session, open_session
from mlcycle.inspecting import graph, multiply_adds, self_test_image
from mlcycle.inspecting.opened import read_contract

SCHEMA_VERSION = 2


def examine(path: Path) -> dict[str, Any]:
    """Verifies and loads a model file, runs its self-test and counts its multiply-adds.

    Returns the JSON document: file, sha256, bytes, contract, sections, graph, multiply_adds, self_test, and the names
    of its digest file and signature.

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
        "digest": _sidecar_name(sealed.path, "sha256"),
        "signature": _sidecar_name(sealed.path, "sig"),
    }


def as_json(document: dict[str, Any]) -> str:
    """Returns the document as ASCII text, which has no control sequences of terminals."""
    return json.dumps(document, indent=2, ensure_ascii=True)


def _graph(sealed: SealedBytes) -> dict[str, Any]:
    return graph.statistics(structure_of(sealed.data), sealed.data)


def _costs(sealed: SealedBytes, session: Session) -> list[dict[str, Any]]:
    sizes = multiply_adds.sizes_for(session.contract)
    return [
        {"width": size.width, "height": size.height, "batch": size.batch, "count": multiply_adds.measure(sealed, size)}
        for size in sizes
    ]


def _self_test(session: Session) -> dict[str, Any] | None:
    """Returns the expected output, and the difference between it and the output on this machine."""
    expected, tolerance = session.self_test, session.tolerance
    if expected is None or tolerance is None:
        return None
    facts = self_test_image.facts(expected) | {
        "tolerance": self_test_image.tolerance_as_dict(tolerance),
        "provider": session.provider,
        "distance": None,
        "within": False,
        "error": None,
    }
    try:
        distance = session.distance()
    except Exception as problem:  # onnxruntime has a dozen classes
        return facts | {"error": " ".join(str(problem).split())[:200]}
    assert distance is not None
    return facts | {"distance": self_test_image.distance_as_dict(distance), "within": distance.within(tolerance)}


def _sidecar_name(path: Path, suffix: str) -> str | None:
    """Returns the name of a sidecar file of a model file, if it exists; a signature is not verified here."""
    sidecar = path.with_name(f"{path.name}.{suffix}")
    return sidecar.name if sidecar.is_file() else None
