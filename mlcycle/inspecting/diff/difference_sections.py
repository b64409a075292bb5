"""The document of `mlcycle model diff` → the sections of its report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from mlcycle.counted import counted
from mlcycle.inspecting.section import Section, Table, shown

_ABSENT = "absent"
# Sections that have fields, and the key of the document that lists their differences.
_LISTED = {"contract": "contract", "self-test": "self_test"}


def sections(document: dict[str, Any]) -> list[Section]:
    """Returns the sections of a report."""
    found = [_files(document)]
    if document["same_bytes"]:
        found.append(Section("Differences", sentence="None: both files have the same bytes."))
    else:
        found += [_parts(document), *_fields("Contract", document["contract"])]
        found += [*_fields("Self-test", document["self_test"]), *_operators(document["operators"]), *_weights(document)]
    return found + (_detections(document) if document["detections"] else [])


def _files(document: dict[str, Any]) -> Section:
    rows = [(name.upper(), _file(document[name])) for name in ("a", "b")]
    return Section("Files", (*rows, *([("relation", document["related"])] if document["related"] else [])))


def _file(facts: dict[str, Any]) -> str:
    size = f"{facts['bytes']:,} bytes"
    return f"{facts['file']}: {facts['name']}, {facts['precision']}, {size}, sha256 {facts['sha256'][:12]}"


def _parts(document: dict[str, Any]) -> Section:
    rows = [(name, _part(document, name)) for name in document["sections"]]
    if document["metadata"]:
        rows.append(("other metadata", ", ".join(document["metadata"])))
    elif False not in document["sections"].values():
        rows.append(("other", "differs: digests of sections, or the order of the file"))
    return Section("Differences", tuple(rows))


def _part(document: dict[str, Any], name: str) -> str:
    same, fields = document["sections"][name], document.get(_LISTED.get(name, ""))
    if same is False and fields == []:
        return "different encoding, equal values"
    return {True: "equal", False: "differs", None: "in neither"}[same]


def _fields(title: str, changes: list[dict[str, Any]]) -> Iterator[Section]:
    if changes:
        rows = tuple((each["field"], *_sides(each)) for each in changes)
        yield Section(title, table=Table(("field", "A", "B"), rows, words=True))


def _sides(change: dict[str, Any]) -> tuple[str, str]:
    """Returns both values; for numeric lists of equal shape, their largest difference."""
    difference = _largest_difference(change["a"], change["b"])
    if difference is not None:
        return f"{len(change['a'])} rows", f"differs by at most {difference:.3g}"
    return _side(change, "a"), _side(change, "b")


def _largest_difference(one: Any, other: Any) -> float | None:
    if not (isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)) and one and other):
        return None
    try:
        arrays = [np.array(each, np.float64) for each in (one, other)]
    except (ValueError, TypeError):
        return None
    return float(np.abs(arrays[0] - arrays[1]).max()) if arrays[0].shape == arrays[1].shape else None


def _side(change: dict[str, Any], side: str) -> str:
    return shown(change[side]) if change["only_in"] in (None, side) else _ABSENT


def _operators(changes: list[dict[str, Any]]) -> Iterator[Section]:
    if changes:
        rows = tuple((each["operator"], str(each["a"]), str(each["b"])) for each in changes)
        yield Section("Operators", table=Table(("operator", "A", "B"), rows))


def _weights(document: dict[str, Any]) -> Iterator[Section]:
    if document["sections"]["weights"]:
        return
    found = document["weights"]
    one, other = (document[side]["precision"] for side in ("a", "b"))
    note = f"A is {one} and B is {other}: corresponding weights are rounded, or have other names."
    yield Section("Weights", tuple(_sums(found)), sentence=note if one != other else "")
    if found["most"]:
        rows = tuple(
            (
                each["name"],
                f"{each['differing']:,} of {each['values']:,}",
                _share(each["largest"]),
                _share(each["mean"]),
            )
            for each in found["most"]
        )
        yield Section("Weights that differ most", table=Table(("tensor", "values", "largest", "mean"), rows))


def _sums(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for side in ("a", "b"):
        if found[f"only_{side}"]:
            yield f"only in {side.upper()}", _summary(found[f"only_{side}"])
    if found["other_shape_or_type"]:
        yield "of another shape or type", _retyped(found["other_shape_or_type"])
    if found["unreadable"]:
        yield "of an unsupported type or encoding", counted(found["unreadable"], "tensor")
    yield "compared", f"{counted(found['compared'], 'tensor')}, {found['differ']:,} of them different"
    if found["differ"]:
        largest, mean = _share(found["largest"]), _share(found["mean"])
        yield "difference", f"at most {largest} of a tensor's largest value, on average {mean} of its mean value"


def _summary(tensors: list[dict[str, Any]]) -> str:
    """Returns the number of tensors of each type, with their names if they are few."""
    types = Counter(each["type"] for each in tensors)
    text = f"{counted(len(tensors), 'tensor')} ({', '.join(f'{count} {kind}' for kind, count in types.most_common())})"
    return f"{text}: {', '.join(each['name'] for each in tensors)}" if len(tensors) <= 3 else text


def _retyped(changes: list[dict[str, Any]]) -> str:
    kinds = Counter(_change(each) for each in changes)
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(5))


def _change(change: dict[str, Any]) -> str:
    a, b = change["a"], change["b"]
    return f"{a['type']} → {b['type']}" if a["type"] != b["type"] else f"{a['shape']} → {b['shape']}"


def _share(value: float | None) -> str:
    return "not a number" if value is None else f"{value:.2g}" if value < 1e-4 else f"{value:.2%}"


def _detections(document: dict[str, Any]) -> list[Section]:
    found = document["detections"]
    faces, thresholds = found["faces"], found["thresholds"]
    skipped = f", {len(found['unreadable']):,} more are unreadable" if found["unreadable"] else ""
    rows = [
        ("images", f"{found['images']:,}{skipped}"),
        ("thresholds", f"{thresholds['a']:g} of A, {thresholds['b']:g} of B"),
        ("found by both", _both(faces)),
        ("only by A", f"{counted(faces['only_a'], 'face')}{_nearly(faces['nearly_a'], 'B')}"),
        ("only by B", f"{counted(faces['only_b'], 'face')}{_nearly(faces['nearly_b'], 'A')}"),
    ]
    table = Table(
        ("image", "both", "only A", "only B", "mean IoU", "score difference"), tuple(map(_image, found["most"]))
    )
    most = [Section("Images that differ most", table=table)] if found["most"] else []
    return [Section("Detections", tuple(rows)), *most]


def _both(faces: dict[str, Any]) -> str:
    if not faces["both"]:
        return "no face"
    scores = f"{faces['mean_score_difference']:.3f} on average, {faces['largest_score_difference']:.3f} at most"
    by = faces["mean_score_change"]
    change = f", B {abs(by):.3f} {'higher' if by > 0 else 'lower'} on average" if by else ""
    return f"{counted(faces['both'], 'face')}, mean IoU {faces['mean_iou']:.3f}, score difference {scores}{change}"


def _nearly(count: int, other: str) -> str:
    return f"; {other} scored {count:,} of them too low" if count else ""


def _image(facts: dict[str, Any]) -> tuple[str, ...]:
    iou, score = facts["mean_iou"], facts["largest_score_difference"]
    numbers = ("", "") if iou is None else (f"{iou:.3f}", f"{score:.3f}")
    return (facts["image"], str(facts["both"]), str(facts["only_a"]), str(facts["only_b"]), *numbers)
