"""An image whose face differs from everything else by its colour."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mlcycle.datasets.labelled_image import LabelledImage

FACE = (120, 200, 220, 330)


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> dict[int, LabelledImage]:
    """The astronaut with a pure red rectangle at the label, stored with EXIF orientations 1 and 6."""
    import skimage

    image = skimage.data.astronaut()[:, :400].copy()
    image[:, :, 0] = np.minimum(image[:, :, 0], 120)  # no other red
    x1, y1, x2, y2 = FACE
    image[y1:y2, x1:x2] = (255, 0, 0)
    upright = Image.fromarray(image)
    folder, images = tmp_path_factory.mktemp("marked"), {}
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
        images[orientation] = LabelledImage(path, path.name, boxes, np.array([False]), landmarks)
    return images
