"""The document of `mlcycle model selftest` → the sections of its report."""

from __future__ import annotations

from typing import Any

from mlcycle.counted import counted
from mlcycle.inspecting.section import Section, Table
from mlcycle.inspecting.self_test_image import tolerance_text

PASSED, FAILED, NO_OUTPUT = "passed", "failed", "no output"


def sections(document: dict[str, Any]) -> list[Section]:
    """Returns the test image, the difference on each provider, and the errors."""
    test, image = document["self_test"], document["self_test"]["image"]
    rows = (
        ("model", f"{document['name']}, {document['precision']}, sha256 {document['sha256'][:12]}"),
        ("test image", f"{image['width']} x {image['height']} px with {counted(test['rows'], 'face')}"),
        ("onnxruntime", document["onnxruntime"] or "cannot be imported"),
    )
    headings = ("provider", "graph", "pixels", "score", "tolerance", "verdict")
    table = Table(headings, tuple(_row(each) for each in document["probes"]), words=True)
    found = [Section("Self-test", rows), Section("Difference from the expected output", table=table)]
    errors = tuple((each["provider"], each["error"]) for each in document["probes"] if each["error"])
    return [*found, Section("Errors", tuple(dict.fromkeys(errors)))] if errors else found


def _row(probe: dict[str, Any]) -> tuple[str, ...]:
    named = (probe["provider"], probe["graph"])
    if probe["within"] is None:
        return (*named, "", "", "", NO_OUTPUT)
    distance = [_number(probe["distance"][name]) for name in ("pixels", "score")]
    return (*named, *distance, tolerance_text(probe["tolerance"]), PASSED if probe["within"] else FAILED)


def _number(value: float | None) -> str:
    return "not found" if value is None else f"{value:.2g}"
