"""A photograph whose face can be told from everything else by its colour."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mlcycle.datasets.labelled_image import LabelledPhotograph

FACE = (120, 200, 220, 330)


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> dict[int, LabelledPhotograph]:
    """The astronaut with a pure red rectangle whose place is the label, stored in EXIF orientations 1 and 6."""
    import skimage

    picture = skimage.data.astronaut()[:, :400].copy()
    picture[:, :, 0] = np.minimum(picture[:, :, 0], 120)  # no other red
    x1, y1, x2, y2 = FACE
    picture[y1:y2, x1:x2] = (255, 0, 0)
    upright = Image.fromarray(picture)
    folder, photographs = tmp_path_factory.mktemp("marked"), {}
    for orientation in (1, 6):
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = upright.transpose(Image.Transpose.ROTATE_90) if orientation == 6 else upright
        path = folder / f"{orientation}.jpg"
        stored.save(path, quality=95, exif=exif)
        landmarks = np.full((1, 5, 2), np.nan, np.float32)
        landmarks[0, 0] = (x1, y1)
        landmarks[0, 1] = (x2, y1)
        boxes = np.array([FACE], np.float32)
        photographs[orientation] = LabelledPhotograph(path, path.name, boxes, np.array([False]), landmarks)
    return photographs
