"""Windows and resizing: whole pixels, and the same numbers as Pillow."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402

from mlcycle.training.data.window import resize, stored_window  # noqa: E402

pytestmark = pytest.mark.training


@pytest.mark.parametrize("size", [(40, 30), (97, 61), (300, 333), (200, 150)])
def test_a_resize_equals_pillows(size: tuple[int, int]) -> None:
    import skimage

    image = skimage.data.astronaut()[20:170, 130:330]
    expected = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR), int)
    assert np.abs(resize(image, size).astype(int) - expected).max() <= 1


def test_a_resize_returns_rows_of_pixels() -> None:
    # Converting three planes into rows later would take longer than the resize.
    whole = np.zeros((20, 30, 3), np.uint8)
    for image in (whole, whole[5:, 3:20], whole[:1, :1]):
        assert resize(image, (12, 10)).flags["C_CONTIGUOUS"]


def test_a_window_is_rounded_to_stored_pixels() -> None:
    place = stored_window((10.2, 21.9, 50.4, 61.0), (101, 201), (50, 100))
    assert place.stored == (5, 11, 25, 30)
    assert place.real == pytest.approx((10.1, 22.11, 50.5, 60.3))


def test_a_window_is_never_empty() -> None:
    assert stored_window((100.9, 0.0, 101.0, 0.1), (101, 201), (50, 100)).stored == (49, 0, 50, 1)
