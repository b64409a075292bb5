"""What a check of a labelled set can find, and the report of it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass, field
from typing import Any

# kind: what it means, for people. Errors first: a set that has one is not fit to train or measure on.
ERRORS = {
    "missing": "the image is not there",
    "corrupt": "the image cannot be decoded to its end",
    "size": "the labels were made for another size of the image",
    "not finite": "a box has a coordinate that is no number",
    "empty": "a box has no width or no height",
    "outside": "a box reaches more than a pixel beyond the image",
    "leakage": "the image is also in the set that this one is held against",
}
WARNINGS = {
    "turned": "EXIF turns the image; its labels are taken to be for the upright one",
    "duplicate": "another image has the same bytes",
    "near duplicate": "another image looks the same",
    "box twice": "a face is labelled twice with the same box",
}
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found: its kind (a key of ERRORS or WARNINGS), the image's name, and the particulars.

    `other` is the name of the second image of a pair.
    """

    kind: str
    image: str
    detail: str
    other: str | None = None

    @property
    def is_error(self) -> bool:
        return self.kind in ERRORS


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a check.

    Attributes:
        images, faces, ignored, with_landmarks, without_faces: counts; `faces` leaves out the ignored boxes.
        height_edges, height_counts: the histogram of the faces' heights in pixels; the last bin has no upper edge.
        findings: errors first, in the order of ERRORS and WARNINGS, each kind by name.
    """

    images: int
    faces: int
    ignored: int
    with_landmarks: int
    without_faces: int
    height_edges: list[int]
    height_counts: list[int]
    findings: list[Finding] = field(default_factory=list)

    @property
    def errors(self) -> int:
        return sum(finding.is_error for finding in self.findings)

    @property
    def warnings(self) -> int:
        return len(self.findings) - self.errors

    def by_kind(self) -> dict[str, list[Finding]]:
        """Returns the findings of each kind that there are of, in the order of `findings`."""
        kinds: dict[str, list[Finding]] = defaultdict(list)
        for finding in self.findings:
            kinds[finding.kind].append(finding)
        return dict(kinds)

    def to_dict(self) -> dict[str, Any]:
        """Returns all of it for JSON."""
        content = asdict(self)
        findings = content.pop("findings")
        named = [{"severity": "error" if finding["kind"] in ERRORS else "warning", **finding} for finding in findings]
        return {
            **content,
            "errors": self.errors,
            "warnings": self.warnings,
            "findings": named,
        }
