"""The bundled models on images from installed packages: all faces are found, and no others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlcycle.artifact import bundled

# x1 y1 x2 y2 of the face and the five landmarks, annotated by hand.
FACES = {
    "astronaut": ((178, 76, 272, 190), ((205, 101), (246, 101), (226, 122), (209, 143), (244, 143))),
    "hopper": ((162, 130, 368, 338), ((223, 190), (305, 187), (268, 235), (236, 279), (306, 276))),
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    import matplotlib
    import skimage

    folder = tmp_path_factory.mktemp("images")
    hopper = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    images = {"astronaut": skimage.data.astronaut(), "coffee": skimage.data.coffee(), "cat": skimage.data.cat()}
    for name, pixels in images.items():
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return {name: folder / f"{name}.png" for name in images} | {"hopper": hopper}


def detect(mlcycle, *words: str | Path) -> list[dict]:
    outcome = mlcycle("infer", *words, "--format", "json")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)["records"][0]["faces"]


def test_without_another_model_the_bundled_one_is_used(mlcycle, images, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = mlcycle("infer", images["astronaut"])
    assert outcome.code == 0
    assert "face-nano" in outcome.err
    assert "(bundled)" in outcome.err


@pytest.mark.parametrize("model", bundled.names())
@pytest.mark.parametrize("name", FACES)
def test_a_face_is_found_with_its_landmarks(mlcycle, images, model: str, name: str) -> None:
    (face,) = detect(mlcycle, images[name], "--model", model)
    box, points = FACES[name]
    assert overlap(np.array(face["box"]), np.array(box)) > 0.6
    found = np.array([face["landmarks"][each] for each in face["landmarks"]])
    size = np.sqrt((box[2] - box[0]) * (box[3] - box[1]))
    assert np.hypot(*(found - points).T).mean() < 0.08 * size


@pytest.mark.parametrize("model", bundled.names())
@pytest.mark.parametrize("name", ["coffee", "cat"])
def test_no_face_is_found_in_images_without_faces(mlcycle, images, model: str, name: str) -> None:
    assert detect(mlcycle, images[name], "--model", model) == []


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Returns the intersection over union of two boxes, x1 y1 x2 y2."""
    sides = (np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])).clip(0)
    areas = [(each[2] - each[0]) * (each[3] - each[1]) for each in (one, other)]
    return sides.prod() / (sum(areas) - sides.prod())
