"""The self-test in a model file: a test image that any program can draw, and the expected outputs for it.

The image shows drawn faces. Its formula uses integers only, so that it has the same pixels on every machine and in
every language. The expected outputs are those of the network when it was frozen, computed by torch. A variant must
give the same within a tolerance for its precision. docs/model-file.md specifies both.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mlcycle.artifact import strict_json
from mlcycle.errors import GateError, ModelFileError

SELF_TEST_KEY = "mlcycle.self_test"
FORMULA = "drawn-faces-1"
HEIGHT, WIDTH = 192, 192
# Expected rows have at least this share of the best score; the outcome of weaker rows is unreliable.
MIN_SCORE_SHARE, MAX_ROWS = 0.5, 16
# Each expected row is compared with each output row, which takes memory.
MAX_EXPECTED_ROWS = 1000
# The IoU at which an output row matches an expected row.
MIN_IOU = 0.5
CELL = 48


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far outputs may be from the expected ones: in `pixels` of the image, and in `score` from 0 to 1."""

    pixels: float
    score: float


@dataclass(frozen=True, slots=True)
class Distance:
    """The largest difference between outputs and expected outputs; infinite pixels if an expected box is missing."""

    pixels: float
    score: float

    def within(self, tolerance: Tolerance) -> bool:
        """Returns whether the distance is within a tolerance; NaN is not."""
        return self.pixels <= tolerance.pixels and self.score <= tolerance.score

    def __str__(self) -> str:
        return f"{self.pixels:.2g} px and {self.score:.2g} in score"


# The outputs of one file on several processors, with all optimisations on and off, differed by at most 0.00003 px and
# 0.0000002. TF32 rounds products to 11 bits, a relative error of 0.001 each.
EXACT, LOOSE = Tolerance(0.01, 0.0001), Tolerance(0.25, 0.005)


@dataclass(frozen=True, slots=True)
class SelfTest:
    """A test image and its expected outputs.

    Attributes:
        height, width, seed: of the image; see `image`.
        boxes: x1 y1 x2 y2 in pixels of the image, best first.
        scores: of the boxes.
        landmarks: x y of each point of each box; empty for a model without landmarks.
        tolerance: how far this file's outputs may be from the expected ones.
        loose_tolerance: the same for a provider that may compute with fewer bits than the file's precision, such as a
            GPU with TF32.
    """

    boxes: tuple[tuple[float, ...], ...]
    scores: tuple[float, ...]
    landmarks: tuple[tuple[tuple[float, ...], ...], ...]
    tolerance: Tolerance
    loose_tolerance: Tolerance
    height: int = HEIGHT
    width: int = WIDTH
    seed: int = 0
    formula: str = FORMULA

    def to_json(self) -> str:
        """Returns the canonical text: sorted keys, no spaces, ASCII."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)

    def image(self) -> np.ndarray:
        """Returns the test image, image_HW3, uint8 RGB."""
        return image(self.height, self.width, self.seed)

    def distance(self, boxes_N4: np.ndarray, scores_N: np.ndarray, landmarks_N52: np.ndarray | None) -> Distance:
        """Compares outputs for the image with the expected ones.

        Each expected row is compared with the output row of the highest IoU. If that is below MIN_IOU, the distance is
        infinite in pixels and the row's whole score counts. An unmatched output row counts by how much its score
        exceeds the lowest expected score.
        """
        expected_K4, expected_K = np.array(self.boxes).reshape(-1, 4), np.array(self.scores)
        ious_KN = _ious(expected_K4, boxes_N4)
        pixels, score, matched = 0.0, 0.0, set()
        for number, iou_N in enumerate(ious_KN):
            row = int(iou_N.argmax()) if len(iou_N) else -1
            if row < 0 or not iou_N[row] >= MIN_IOU:
                pixels, score = float("inf"), _larger(score, expected_K[number])
                continue
            matched.add(row)
            score = _larger(score, abs(expected_K[number] - scores_N[row]))
            pixels = _larger(pixels, np.abs(expected_K4[number] - boxes_N4[row]).max())
            if self.landmarks and landmarks_N52 is not None:
                differences_52 = np.abs(np.array(self.landmarks[number]) - landmarks_N52[row])
                pixels = _larger(pixels, differences_52.max())
        lowest = expected_K.min() if len(expected_K) else 0.0
        for row, other in enumerate(scores_N):
            if row not in matched and other > lowest:
                score = _larger(score, other - lowest)
        return Distance(pixels, score)


def make_self_test(boxes_N4: np.ndarray, scores_N: np.ndarray, landmarks_N52: np.ndarray | None) -> SelfTest:
    """Makes a self-test from the float32 outputs for `image(HEIGHT, WIDTH, 0)`, best first."""
    count = int((scores_N[:MAX_ROWS] > MIN_SCORE_SHARE * scores_N[:1]).sum())
    points = () if landmarks_N52 is None else _rounded(landmarks_N52[:count])
    return SelfTest(_rounded(boxes_N4[:count]), _rounded(scores_N[:count], 6), points, EXACT, LOOSE)


def tolerance_of(distance: Distance, most: Tolerance, least: Tolerance = LOOSE) -> Tolerance:
    """Returns the tolerance of a variant: twice its measured distance, and at least `least`.

    Raises:
        GateError: the distance exceeds `most`.
    """
    if not distance.within(most):
        raise GateError(
            f"the variant fails the model's self-test: its outputs differ by {distance}; the limits are"
            f" {most.pixels:g} px and {most.score:g}",
            "nothing was written; for int8 pass images like those the model will be used on, or try float16",
        )
    return Tolerance(_up(max(2 * distance.pixels, least.pixels)), _up(max(2 * distance.score, least.score)))


def from_json(text: str) -> SelfTest:
    """Parses a self-test.

    Raises:
        ModelFileError: the text is not a self-test, or needs an image that this version cannot draw.
    """
    try:
        raw: dict[str, Any] = strict_json.loads(text)
        if raw["formula"] != FORMULA:
            raise ModelFileError("the model file's self-test needs an unknown image", "install a newer mlcycle")
        test = SelfTest(
            boxes=tuple(tuple(map(_number, box)) for box in raw["boxes"]),
            scores=tuple(map(_number, raw["scores"])),
            landmarks=tuple(tuple(tuple(map(_number, point)) for point in points) for points in raw["landmarks"]),
            tolerance=_tolerance(raw["tolerance"]),
            loose_tolerance=_tolerance(raw["loose_tolerance"]),
            height=_whole(raw["height"]),
            width=_whole(raw["width"]),
            seed=_whole(raw["seed"]),
        )
        shapes = np.shape(test.boxes), np.shape(test.landmarks)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        raise ModelFileError("the model file's self-test cannot be read", "freeze the model again") from None
    count = len(test.scores)
    expected = (count, 4) if count else (0,), (count, *shapes[1][1:2], 2) if test.landmarks else (0,)
    if shapes != expected or count > MAX_EXPECTED_ROWS or not (0 < test.height <= 1024 and 0 < test.width <= 1024):
        raise ModelFileError("the model file's self-test is inconsistent", "freeze the model again")
    return test


def _tolerance(raw: dict[str, Any]) -> Tolerance:
    return Tolerance(_number(raw["pixels"]), _number(raw["score"]))


def _number(value: Any) -> float:
    """Returns a number; a string such as "nan" is refused."""
    if type(value) not in (int, float):
        raise TypeError
    return float(value)


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError
    return value


def _up(value: float) -> float:
    """Rounds up to two digits: readable, and the last bits of a measurement do not reach the file."""
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return round(math.ceil(value / step - 1e-9) * step, 6)


def image(height: int, width: int, seed: int) -> np.ndarray:
    """Draws faces on a background of noise: one in each cell of 48 pixels; the first four cells share a large one.

    Integers throughout; divisions of negative numbers round down.

    Returns image_HW3, uint8 RGB.
    """
    y_H1, x_1W = np.arange(height)[:, None], np.arange(width)[None, :]
    blocks_HW, grain_HW = _hash(x_1W // 16, y_H1 // 16, seed), _hash(x_1W, y_H1, seed + 1)
    grain_HW = grain_HW >> 8 & 31
    canvas_HW3 = np.stack([40 + (blocks_HW >> 8 * channel & 127) + grain_HW for channel in range(3)], axis=2)
    rows, columns = height // CELL, width // CELL
    faces_RC = _hash(np.arange(columns)[None, :], np.arange(rows)[:, None], seed + 2)
    has_large = rows >= 2 and columns >= 2
    for row in range(rows):
        for column in range(columns):
            if not (has_large and row < 2 and column < 2):
                face = int(faces_RC[row, column])
                middle = (column * CELL + 20 + (face >> 4 & 7), row * CELL + 20 + (face >> 7 & 7))
                _draw_face(canvas_HW3, middle, 10 + (face & 15) // 2, face >> 10 & 63)
    if has_large:
        _draw_face(canvas_HW3, (CELL, CELL), 36, int(faces_RC[0, 0]) >> 10 & 63)
    return np.clip(canvas_HW3, 0, 255).astype(np.uint8)


def _draw_face(canvas_HW3: np.ndarray, middle: tuple[int, int], radius: int, tone: int) -> None:
    """Draws hair, a head that darkens towards its edge and its right, brows, eyes, nose and mouth.

    All are ellipses, with centres and half-axes in sixteenths of the radius.
    """
    (x, y), reach = middle, radius * 5 // 4
    top, left = max(0, y - reach), max(0, x - reach)
    part_HW3 = canvas_HW3[top : y + reach + 1, left : x + reach + 1]
    down_H1 = np.arange(top, top + part_HW3.shape[0])[:, None] - y
    across_1W = np.arange(left, left + part_HW3.shape[1])[None, :] - x

    def ellipse(x: int, y: int, a: int, b: int) -> np.ndarray:
        u_1W, v_H1 = 16 * across_1W - x * radius, 16 * down_H1 - y * radius
        return u_1W * u_1W * (b * b) + v_H1 * v_H1 * (a * a) <= (a * b * radius) ** 2

    rim_HW = (16 * across_1W * across_1W + 9 * down_H1 * down_H1) * 40 // (9 * radius * radius)
    skin_HW3 = np.array((225, 180, 150)) - tone - (rim_HW + across_1W * 16 // radius)[..., None]
    head_HW = ellipse(0, 2, 12, 14)
    part_HW3[ellipse(0, -3, 14, 16)] = (60, 45, 35)
    part_HW3[head_HW] = skin_HW3[head_HW]
    for side in (-5, 5):
        part_HW3[ellipse(side, -4, 3, 1)] = (70, 50, 40)
        part_HW3[ellipse(side, -1, 2, 2)] = (30, 25, 25)
    part_HW3[ellipse(0, 4, 2, 1)] = (150 - tone // 2, 100 - tone // 2, 90 - tone // 2)
    part_HW3[ellipse(0, 9, 5, 1)] = (150, 60, 60)


def _hash(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """Returns a pseudo-random 32-bit number for each x, y pair; all arithmetic is modulo 2 to the 32."""
    start = np.uint32(seed * 2246822519 & 0xFFFFFFFF)
    mixed = x.astype(np.uint32) * np.uint32(374761393) + y.astype(np.uint32) * np.uint32(668265263) + start
    mixed = (mixed ^ mixed >> np.uint32(13)) * np.uint32(1274126177)
    return (mixed ^ mixed >> np.uint32(16)).astype(np.int64)


def _larger(one: float, other: float) -> float:
    """Returns the larger of two; NaN counts as infinity."""
    return float(one) if one >= other else float("inf") if np.isnan(other) else float(other)


def _ious(one_K4: np.ndarray, other_N4: np.ndarray) -> np.ndarray:
    """Returns the IoU of each box of one with each box of the other, K x N."""
    both_KN2 = np.minimum(one_K4[:, None, 2:], other_N4[None, :, 2:]) - np.maximum(
        one_K4[:, None, :2], other_N4[None, :, :2]
    )
    shared_KN = np.clip(both_KN2, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (one_K4, other_N4)]
    return shared_KN / np.maximum(areas[0][:, None] + areas[1][None, :] - shared_KN, 1e-9)


def _rounded(values: np.ndarray, digits: int = 4) -> Any:
    def as_tuples(nested: Any) -> Any:
        return tuple(as_tuples(each) for each in nested) if isinstance(nested, list) else round(nested, digits)

    return as_tuples(values.astype(float).tolist())
