"""The kinds of findings of a data check, and its report."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass, field
from typing import Any

# Kind: what it means. A set with an error is not fit for training or evaluation.
ERRORS = {
    "missing": "the image file does not exist",
    "corrupt": "the image cannot be decoded completely",
    "size": "the labels were made for another size of the image",
    "not finite": "a box has a coordinate that is not finite",
    "empty": "a box has no width or no height",
    "outside": "a box reaches more than a pixel beyond the image",
    "leakage": "the image is also in the set that this one is compared with",
}
WARNINGS = {
    "rotated": "EXIF rotates the image; its labels are taken to refer to the upright one",
    "duplicate": "another image has the same bytes",
    "near duplicate": "another image is nearly identical",
    "duplicate box": "a face is labelled twice with the same box",
}
SCHEMA_VERSION = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding: its kind (a key of ERRORS or WARNINGS), the image's name, and the details.

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
class CheckReport:
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
        """Returns the findings by kind, in the order of `findings`."""
        kinds: dict[str, list[Finding]] = defaultdict(list)
        for finding in self.findings:
            kinds[finding.kind].append(finding)
        return dict(kinds)

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as JSON values."""
        content = asdict(self)
        findings = content.pop("findings")
        named = [{"severity": "error" if finding["kind"] in ERRORS else "warning", **finding} for finding in findings]
        return {
            **content,
            "errors": self.errors,
            "warnings": self.warnings,
            "findings": named,
        }
