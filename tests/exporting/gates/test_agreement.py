"""Parent and variant on images: the differences that pass, and those that fail."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mlcycle.errors import GateError, InputError
from mlcycle.exporting.gates import agreement

FACES = [[10, 10, 50, 60], [80, 20, 100, 44], [200, 100, 260, 170], [5, 150, 25, 180]]
SCORES = [0.9, 0.8, 0.7, 0.6]


@dataclass
class FakeDetector:
    """A detector that returns the same faces for every image, from the given threshold on."""

    boxes: Any
    scores: Any
    error: tuple[str, str] | None = None

    @property
    def contract(self) -> SimpleNamespace:
        return SimpleNamespace(thresholds={"balanced": 0.5}, input_size=None)

    def detect_file(
        self, path: Path, *, threshold: float, long_sides: tuple[int, ...] | None = None
    ) -> SimpleNamespace:
        boxes_N4, scores_N = np.array(self.boxes, np.float32).reshape(-1, 4), np.array(self.scores, np.float32)
        kept_N = scores_N >= threshold
        return SimpleNamespace(boxes_N4=boxes_N4[kept_N], scores_N=scores_N[kept_N], error=self.error)


def compare(monkeypatch: pytest.MonkeyPatch, parent: FakeDetector, variant: FakeDetector) -> agreement.Agreement:
    detectors = {"parent": parent, "variant": variant}
    monkeypatch.setattr(agreement, "load_detector", lambda path, provider: detectors[path.name])
    return agreement.agree(Path("parent"), Path("variant"), [Path("image")])


def test_the_same_faces_agree_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    found = compare(monkeypatch, FakeDetector(FACES, SCORES), FakeDetector(FACES[::-1], SCORES[::-1]))
    assert (found.images, found.faces, found.shared, found.score, found.overlap) == (1, 4, 1.0, 0.0, 1.0)


def test_a_face_slightly_below_the_threshold_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    found = compare(monkeypatch, FakeDetector(FACES, [0.9, 0.8, 0.7, 0.51]), FakeDetector(FACES, [0.9, 0.8, 0.7, 0.49]))
    assert found.faces == 4
    assert found.shared == 1.0


def test_a_face_that_one_alone_finds_counts_too() -> None:
    one, other = FakeDetector(FACES[:2], SCORES[:2]), FakeDetector(FACES[1:3], SCORES[1:3])
    found = agreement.compare(
        lambda image: one.detect_file(image, threshold=0.25),  # type: ignore[arg-type, return-value]
        lambda image: other.detect_file(image, threshold=0.25),  # type: ignore[arg-type, return-value]
        0.5,
        [Path("a")],
    )
    assert (found.faces, found.shared) == (3, 0.5)


@pytest.mark.parametrize(
    "variant",
    [
        FakeDetector(FACES[:3], SCORES[:3]),
        FakeDetector([*FACES, [300, 300, 340, 350]], [*SCORES, 0.55]),
        FakeDetector([[each + 30 for each in box] for box in FACES], SCORES),
        FakeDetector(FACES, [each - 0.04 for each in SCORES]),
        FakeDetector([], []),
    ],
)
def test_disagreement_fails_in_both_directions(monkeypatch: pytest.MonkeyPatch, variant: FakeDetector) -> None:
    parent = FakeDetector(FACES, SCORES)
    for pair in ((parent, variant), (variant, parent)):
        with pytest.raises(GateError, match="disagree") as caught:
            compare(monkeypatch, *pair)
        assert caught.value.exit_code == 5


def test_no_faces_or_no_images_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    for detector in (FakeDetector([], []), FakeDetector(FACES, [0.4] * 4)):
        with pytest.raises(GateError, match="nothing could be compared"):
            compare(monkeypatch, detector, detector)
    with pytest.raises(InputError, match="none of the images can be read"):
        compare(monkeypatch, *[FakeDetector(FACES, SCORES, ("truncated", "why"))] * 2)


def test_unreadable_images_are_counted() -> None:
    whole, broken = FakeDetector(FACES, SCORES), FakeDetector([], [], ("truncated", "why"))

    def detect(image: Path) -> Any:
        return (broken if image.name == "broken" else whole).detect_file(image, threshold=0.25)

    found = agreement.compare(detect, detect, 0.5, [Path("a"), Path("broken"), Path("b")])
    assert (found.images, found.unreadable) == (2, 1)
    assert str(found).startswith("2 images (1 more are unreadable), 8 faces: ")
