"""Temporal smoothing of boxes: the share of video frames in which a face is covered, without and with it.

    python benchmarks/flicker.py [--model FILE] [--frames 300]

Needs mlcycle and scikit-image. An image of an astronaut moves, rotates, zooms and darkens over the frames, with noise,
so that the face is missed in some; its true position is known. A frame counts as covered if at least 90 % of the
ellipse in the face's true box is inside the ellipses that a redacted copy covers. It prints a row for each video: how
many pixels the face moves per frame, the noise, the scale, in how many frames it was found, and in how many it was
covered without and with temporal smoothing, which redacted copies use.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from mlcycle.inference.copies.redact import ELLIPSE_SCALE
from mlcycle.inference.detect import Detector, load_detector
from mlcycle.inference.models import find_model
from mlcycle.inference.record import Source
from mlcycle.inference.video.temporal_smoothing import smooth_boxes

SIZE = (640, 360)
# x1 y1 x2 y2 of the face in scikit-image's astronaut.
FACE = (178, 62, 269, 177)
# Horizontal amplitude of the motion in pixels, standard deviation of the noise in grey levels, least scale.
VIDEOS = ((200, 25, 0.25), (200, 35, 0.22), (200, 40, 0.16), (100, 45, 0.16), (200, 55, 0.2), (200, 60, 0.25))


def video(sway: float, noise: float, scale: float, count: int) -> Iterator[tuple[Image.Image, np.ndarray]]:
    """Yields each frame and the true box of its face."""
    from skimage import data

    image = Image.fromarray(data.astronaut())
    random = np.random.default_rng(0)
    x1, y1, x2, y2 = FACE
    for seconds in np.arange(count) / 25:
        zoom = scale * (1 + 0.8 * np.sin(1.7 * seconds) ** 2)
        angle = np.deg2rad(8 * np.sin(2.1 * seconds))
        x, y = 320 + sway * np.sin(2.3 * seconds), 180 + 60 * np.sin(1.9 * seconds)
        c, s = np.cos(angle) / zoom, np.sin(angle) / zoom
        inverse = (c, s, (x1 + x2) / 2 - c * x - s * y, -s, c, (y1 + y2) / 2 + s * x - c * y)
        moved = image.transform(
            SIZE, Image.Transform.AFFINE, inverse, Image.Resampling.BICUBIC, fillcolor=(90, 110, 100)
        )
        pixels_HW3 = np.asarray(moved) + random.normal(0, noise, (SIZE[1], SIZE[0], 3))
        pixels_HW3 *= 0.775 + 0.225 * np.sin(5 * seconds)
        middle_2 = np.array([x, y])
        half_2 = zoom * np.array([x2 - x1, y2 - y1]) / 2
        yield (
            Image.fromarray(np.clip(pixels_HW3, 0, 255).astype(np.uint8)),
            np.concatenate([middle_2 - half_2, middle_2 + half_2]),
        )


def is_covered(boxes_N4: np.ndarray, true_4: np.ndarray) -> bool:
    unit_x_HW, unit_y_HW = np.meshgrid(*2 * [(np.arange(40) + 0.5) / 20 - 1])
    inside_HW = unit_x_HW**2 + unit_y_HW**2 <= 1
    x_HW = (true_4[0] + true_4[2]) / 2 + unit_x_HW * (true_4[2] - true_4[0]) / 2
    y_HW = (true_4[1] + true_4[3]) / 2 + unit_y_HW * (true_4[3] - true_4[1]) / 2
    covered_HW = np.zeros_like(inside_HW)
    for x1, y1, x2, y2 in boxes_N4.tolist():
        ellipse_x, ellipse_y = (2 * x_HW - x1 - x2) / (x2 - x1), (2 * y_HW - y1 - y2) / (y2 - y1)
        covered_HW |= ellipse_x**2 + ellipse_y**2 <= ELLIPSE_SCALE**2
    return bool(covered_HW[inside_HW].mean() >= 0.9)


def measure(detector: Detector, sway: float, noise: float, scale: float, count: int) -> str:
    found, true = [], []
    for image, true_4 in video(sway, noise, scale, count):
        (record,) = detector.detect_batch([Source(Path("frame"), "frame", image=lambda image=image: image)])
        found.append(record.boxes_N4)
        true.append(true_4)
    middles_N2 = np.array(true).reshape(-1, 2, 2).mean(axis=1)
    step = np.linalg.norm(np.diff(middles_N2, axis=0), axis=1).mean()
    shares = [
        sum(is_covered(boxes_N4, true_4) for boxes_N4, true_4 in zip(boxes, true, strict=True)) / count
        for boxes in (found, smooth_boxes(found))
    ]
    hits = sum(len(boxes_N4) > 0 for boxes_N4 in found)
    return f"{step:10.1f} {noise:6.0f} {scale:6.2f} {hits:8d} {100 * shares[0]:8.1f} % {100 * shares[1]:8.1f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=None)
    parser.add_argument("--frames", type=int, default=300)
    arguments = parser.parse_args()
    detector = load_detector(find_model(arguments.model)[0], provider="cpu", threads=1)
    print(f"{'px/frame':>10} {'noise':>6} {'scale':>6} {'found in':>8} {'without':>10} {'smoothed':>10}")
    for sway, noise, scale in VIDEOS:
        print(measure(detector, sway, noise, scale, arguments.frames), flush=True)


if __name__ == "__main__":
    main()
