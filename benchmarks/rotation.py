"""Recall of faces in rotated images, and how closely the eyes of a rotated head follow it.

    python benchmarks/rotation.py MODEL [MODEL ...] --data DIR [--split val] [--angles 0 30 45] [--judge CenterFace]

Needs only mlcycle, and for judges of other projects their packages (README.md in this folder). Each image is resized to
`--long-side`, then rotated by each angle to both sides, with black corners; nothing is cut off. Each detector runs at
its default threshold.

- Recall: the share of labelled faces of at least 32 input pixels that a box of its own overlaps with an IoU of .5. The
  label of a rotated face is the box around the rotated ellipse that touches the sides of its box.
- Eye line: of found faces whose eyes are labelled, the angle between the found and the labelled line through both eyes,
  in degrees: its median. Only for model files with landmarks, and sets that have them.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from detectors import peer_named
from PIL import Image

import mlcycle
from mlcycle.datasets import reading
from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.evaluation.matching import overlaps
from mlcycle.inference import letterbox
from mlcycle.inference.decoding import images

LEAST_SIZE = 32
LEAST_IOU = 0.5

# From image_HW3 to boxes_N4 and landmarks_N52, or None.
Detect = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]]


@dataclass(slots=True)
class Tally:
    """Of one detector at one angle: labelled faces, those found, and errors of the eye line in degrees."""

    faces: int = 0
    found: int = 0
    errors: list[float] = field(default_factory=list)


def open_detector(name: str) -> Detect:
    """Opens a peer of this name, or a model file or bundled model, at its default threshold."""
    if peer := peer_named(name):
        find = peer.open(peer).default
        return lambda image_HW3: (np.asarray(find(image_HW3)[0], np.float32).reshape(-1, 4), None)
    model = mlcycle.load(name, long_side="original")

    def detect(image_HW3: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        faces = model(image_HW3)
        return faces.boxes, faces.landmarks

    return detect


class Rotation:
    """An image rotated counterclockwise by `angle` degrees about its middle, with a canvas that holds all of it.

    Training rotates otherwise (mlcycle.training.data.crop): a square crop, whose corners are lost, and with torch.
    """

    def __init__(self, image: Image.Image, angle: float) -> None:
        self.image = image.rotate(angle, Image.Resampling.BILINEAR, expand=True)
        turn = math.radians(angle)
        self.matrix_22 = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
        self.before_2, self.after_2 = np.array(image.size) / 2, np.array(self.image.size) / 2

    def points(self, points_P2: np.ndarray) -> np.ndarray:
        """Returns where points x y (of any leading shape) have moved."""
        return (points_P2 - self.before_2) @ self.matrix_22.T + self.after_2

    def boxes(self, boxes_N4: np.ndarray) -> np.ndarray:
        """Returns the boxes around the rotated ellipses that touch the sides of these boxes."""
        middles_N2 = self.points((boxes_N4[:, :2] + boxes_N4[:, 2:]) / 2)
        halves_N2 = np.sqrt(((boxes_N4[:, 2:] - boxes_N4[:, :2]) / 2) ** 2 @ (self.matrix_22.T**2))
        return np.hstack([middles_N2 - halves_N2, middles_N2 + halves_N2])


def count(detect: Detect, rotation: Rotation, image: LabelledImage, scale_2: np.ndarray, tally: Tally) -> None:
    """Adds one rotated image to the tally; `scale_2` is pixels of the image per pixel of the unrotated input."""
    labels_N4 = image.boxes_N4 / np.tile(scale_2, 2)
    counts_N = ~image.ignore_N & ((labels_N4[:, 2:] - labels_N4[:, :2]).min(axis=1, initial=np.inf) >= LEAST_SIZE)
    boxes_M4, points_M52 = detect(np.array(rotation.image))
    tally.faces += int(counts_N.sum())
    if not (counts_N.any() and len(boxes_M4)):
        return
    iou_MN = overlaps(boxes_M4, rotation.boxes(labels_N4).astype(np.float32), np.zeros(len(labels_N4), bool))
    for label in np.flatnonzero(counts_N):
        best = int(iou_MN[:, label].argmax())
        if iou_MN[best, label] < LEAST_IOU:
            continue
        tally.found += 1
        eyes_22 = image.landmarks_N52[label, :2] / scale_2
        iou_MN[best] = 0  # each box finds one face
        if points_M52 is not None and np.isfinite(eyes_22).all():
            tally.errors.append(_angle_between(points_M52[best, :2], rotation.points(eyes_22)))


def _angle_between(found_22: np.ndarray, labelled_22: np.ndarray) -> float:
    """Returns the angle between two lines from the first to the second eye, 0 to 180 degrees."""
    found_2, labelled_2 = found_22[1] - found_22[0], labelled_22[1] - labelled_22[0]
    turn = math.atan2(found_2[1], found_2[0]) - math.atan2(labelled_2[1], labelled_2[0])
    return abs(math.degrees(math.remainder(turn, 2 * math.pi)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="")
    parser.add_argument("--angles", type=float, nargs="+", default=[0, 30, 45])
    parser.add_argument("--long-side", type=int, default=640)
    parser.add_argument("--judge", nargs="*", default=[])
    arguments = parser.parse_args()
    detectors = {name: open_detector(name) for name in [*arguments.models, *arguments.judge]}
    tallies = {(name, angle): Tally() for name in detectors for angle in arguments.angles}
    for image in reading.read(arguments.data, arguments.split):
        upright = images.decode(images.read(image.path)).upright()
        resized = Image.fromarray(letterbox.shrink(upright, arguments.long_side)[0])
        scale_2 = np.array(upright.size) / resized.size
        for angle in arguments.angles:
            for side in {angle, -angle}:
                rotation = Rotation(resized, side)
                for name, detect in detectors.items():
                    count(detect, rotation, image, scale_2, tallies[name, angle])
    for (name, angle), tally in tallies.items():
        recall = f"recall {tally.found / max(1, tally.faces):.3f} of {tally.faces} faces"
        eyes = f", eye line {np.median(tally.errors):.1f} degrees off ({len(tally.errors)})" if tally.errors else ""
        print(f"{name} at {angle:g} degrees: {recall}{eyes}")


if __name__ == "__main__":
    main()
