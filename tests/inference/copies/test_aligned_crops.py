"""Aligned crops: rotated and scaled by the landmarks to the template of face recognition."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Outcome
from PIL import Image
from tiny_model import write_tiny_model

from mlcycle.inference.copies.crops import SIDE, TEMPLATE_52, aligned, similarity

pytest_plugins = ("tiny_album",)

Run = Callable[..., Outcome]


def turned(points_N2: np.ndarray, scale: float, degrees: float, middle: float) -> np.ndarray:
    """Returns points scaled and rotated about their crop's centre, which moves to `middle`, `middle`."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return scale * (points_N2 - SIDE / 2) @ np.array([[cosine, sine], [-sine, cosine]]) + middle


def grey(values_HW: np.ndarray) -> Image.Image:
    return Image.fromarray(np.rint(values_HW).astype(np.uint8)).convert("RGB")


@pytest.mark.parametrize("mirrored", [1, -1])
def test_the_similarity_has_the_least_squared_error(mirrored: int) -> None:
    random = np.random.default_rng(1)
    points_52 = TEMPLATE_52 * [mirrored, 1] + random.normal(scale=5, size=(5, 2))

    def error(forward_33: np.ndarray) -> float:
        return float(((points_52 @ forward_33[:2, :2].T + forward_33[:2, 2] - TEMPLATE_52) ** 2).sum())

    forward_33 = similarity(points_52, TEMPLATE_52)
    (a, minus_b), (b, d) = forward_33[:2, :2]
    assert (a, b) == pytest.approx((d, -minus_b))  # a rotation and a scale, no reflection
    for _ in range(50):
        turn_a, turn_b, x, y = random.normal(scale=0.01, size=4)
        other_33 = forward_33 + np.array([[turn_a, -turn_b, x], [turn_b, turn_a, y], [0, 0, 0]])
        assert error(forward_33) < error(other_33)


@pytest.mark.parametrize(("scale", "degrees"), [(0.7, 33), (1, 0), (1, 180), (2, -90), (10, 70)])
def test_landmarks_are_moved_to_the_template(scale: float, degrees: float) -> None:
    side = int(170 * scale) + 40
    points_52 = turned(TEMPLATE_52 + 0.5, scale, degrees, side / 2 + 0.3)
    y_HW, x_HW = np.mgrid[:side, :side] + 0.5
    spread = 2 * (2.5 * scale) ** 2
    dots_HW = sum(np.exp(-((x_HW - x) ** 2 + (y_HW - y) ** 2) / spread) for x, y in points_52)
    found_HW = np.asarray(aligned(grey(250 * np.clip(dots_HW, 0, 1)), points_52))[..., 0].astype(float)
    rows_HW, columns_HW = np.mgrid[:SIDE, :SIDE]
    for x, y in TEMPLATE_52:
        weight_HW = found_HW * (np.hypot(columns_HW - x, rows_HW - y) < 8)
        middle = (weight_HW * columns_HW).sum() / weight_HW.sum(), (weight_HW * rows_HW).sum() / weight_HW.sum()
        assert middle == pytest.approx((x, y), abs=0.2)


@pytest.mark.parametrize("scale", [1.7, 5])
@pytest.mark.parametrize("degrees", [0, 17, 45])
def test_stripes_too_fine_for_the_crop_do_not_alias(scale: float, degrees: float) -> None:
    side = int(170 * scale)
    y_HW, x_HW = np.mgrid[:side, :side]
    along_HW = np.cos(np.radians(degrees)) * x_HW + np.sin(np.radians(degrees)) * y_HW

    def contrast(stripes_a_pixel: float) -> float:
        image = grey(127.5 + 100 * np.sin(2 * np.pi * stripes_a_pixel / scale * along_HW))
        crop_HW = np.asarray(aligned(image, turned(TEMPLATE_52 + 0.5, scale, degrees, side / 2)))[8:-8, 8:-8, 0]
        return float(crop_HW.astype(float).std() * 2**0.5 / 100)

    assert contrast(0.25) > 0.95
    assert max(contrast(0.75), contrast(0.8)) < 0.05


def test_coinciding_landmarks_are_refused_and_those_outside_give_black() -> None:
    with pytest.raises(ValueError, match="coincide"):
        aligned(Image.new("RGB", (50, 50), "white"), np.full((5, 2), 20.0))
    assert not np.asarray(aligned(Image.new("RGB", (50, 50), "white"), TEMPLATE_52 + 5000)).any()


def test_a_real_face_is_aligned_by_its_landmarks(mlcycle: Run, astronaut: Path, tmp_path: Path) -> None:
    outcome = mlcycle("infer", astronaut, "--crops", tmp_path / "out", "--align", "--format", "json")
    (record,) = json.loads(outcome.out)["records"]
    (path,) = record["crops"]
    points_52 = np.array(list(record["faces"][0]["landmarks"].values()))
    forward_33 = similarity(points_52, TEMPLATE_52)
    errors_5 = np.hypot(*(points_52 @ forward_33[:2, :2].T + forward_33[:2, 2] - TEMPLATE_52).T)
    assert errors_5.max() < 5  # no face equals the template; this one is wider than it is high
    with Image.open(path) as crop, Image.open(astronaut) as image:
        crop_HW3, image_HW3 = np.asarray(crop).astype(float), np.asarray(image).astype(float)
    assert crop_HW3.shape == (SIDE, SIDE, 3)
    # Compares each pixel of the crop with the image's pixel at its centre: the scale is nearly 1 here.
    rows_HW, columns_HW = np.mgrid[:SIDE, :SIDE]
    places_3P = np.stack([columns_HW.ravel(), rows_HW.ravel(), np.ones(SIDE * SIDE)])
    x_P, y_P = np.floor(np.linalg.inv(forward_33) @ places_3P)[:2].astype(int)
    assert np.abs(crop_HW3.reshape(-1, 3) - image_HW3[y_P, x_P]).mean() < 8


def test_alignment_without_landmarks_is_refused_before_anything_is_written(
    mlcycle: Run, album: Path, tmp_path: Path
) -> None:
    plain = write_tiny_model(tmp_path / "plain.onnx", landmarks=False)
    arguments = ("infer", album / "one.jpg", "--model", plain, "--align")
    outcome = mlcycle(*arguments, "--crops", tmp_path / "out")
    assert (outcome.code, outcome.out, (tmp_path / "out").exists()) == (2, "", False)
    assert "needs five landmarks" in outcome.err
    outcome = mlcycle(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert "--crops" in outcome.err
