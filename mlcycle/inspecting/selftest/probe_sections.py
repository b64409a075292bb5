"""The document of `mlcycle model selftest` → what people read."""

from __future__ import annotations

from typing import Any

from mlcycle.inspecting.known_answer import tolerance_text
from mlcycle.inspecting.section import Section, Table, counted

GOOD, FAR, NOTHING = "as it must be", "too far", "no answer"


def sections(document: dict[str, Any]) -> list[Section]:
    """Returns what the file asks for, how far each answer is from it, and why some gave none."""
    test, image = document["self_test"], document["self_test"]["image"]
    asked = f"{counted(test['rows'], 'face')} in a drawing of {image['width']} x {image['height']} px"
    rows = (
        ("model", f"{document['name']}, {document['precision']}, sha256 {document['sha256'][:12]}"),
        ("asks for", asked),
        ("onnxruntime", document["onnxruntime"] or "cannot be imported"),
    )
    headings = ("provider", "graph", "pixels", "score", "allowed", "verdict")
    table = Table(headings, tuple(_row(each) for each in document["trials"]), words=True)
    found = [Section("Self-test", rows), Section("Distance from the known answer", table=table)]
    why = tuple((each["provider"], each["why_not"]) for each in document["trials"] if each["why_not"])
    return [*found, Section("Why there is no answer", tuple(dict.fromkeys(why)))] if why else found


def _row(trial: dict[str, Any]) -> tuple[str, ...]:
    named = (trial["provider"], trial["graph"])
    if trial["within"] is None:
        return (*named, "", "", "", NOTHING)
    distance = [_figure(trial["distance"][name]) for name in ("pixels", "score")]
    return (*named, *distance, tolerance_text(trial["tolerance"]), GOOD if trial["within"] else FAR)


def _figure(value: float | None) -> str:
    return "not found" if value is None else f"{value:.2g}"
