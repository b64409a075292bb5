"""Fixtures: a model whose outputs are known to the pixel, and images with patches that it detects as faces."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_model import BLUE, GREEN, write_tiny_model

from mlcycle.inference.detect import Detector, load_detector

FACE = (300, 40, 380, 150)
SECOND_FACE = (40, 300, 100, 340)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny.onnx")


@pytest.fixture(scope="session")
def detector(tiny: Path) -> Detector:
    return load_detector(tiny, provider="cpu", threads=1)


@pytest.fixture(scope="session")
def pixels() -> np.ndarray:
    """A real image, wider than it is high, with a green patch at FACE: x1 y1 x2 y2."""
    from skimage import data

    pixels_HW3 = data.astronaut()[:400].copy()
    x1, y1, x2, y2 = FACE
    pixels_HW3[y1:y2, x1:x2] = GREEN
    pixels_HW3.flags.writeable = False
    return pixels_HW3


@pytest.fixture(scope="session")
def encoded_album(tmp_path_factory: pytest.TempPathFactory, pixels: np.ndarray) -> Path:
    from skimage import data

    folder = tmp_path_factory.mktemp("albums") / "album"
    (folder / "inside").mkdir(parents=True)
    Image.fromarray(pixels).save(folder / "one.jpg", quality=95)
    two_HW3 = pixels.copy()
    x1, y1, x2, y2 = SECOND_FACE
    two_HW3[y1:y2, x1:x2] = BLUE
    Image.fromarray(two_HW3).save(folder / "inside" / "two.png")
    Image.fromarray(data.coffee()).save(folder / "none.jpg")
    (folder / "broken.jpg").write_text("this is not an image\n")
    (folder / "notes.txt").write_text("skipped\n")
    return folder


@pytest.fixture
def album(tmp_path: Path, encoded_album: Path) -> Path:
    """A folder of the test's own: one face, two faces (in a subfolder), no face, and a file that is not an image."""
    return Path(shutil.copytree(encoded_album, tmp_path / "album"))
