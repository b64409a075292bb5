"""Resizing in compiled loops gives Pillow's pixels, to the last bit, and Pillow resizes where there are none."""

from __future__ import annotations

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlcycle.inference import compiled, resampling

in_loops = pytest.mark.skipif(compiled.library() is None, reason="mlcycle was installed without a C compiler")


def noise(width: int, height: int) -> Image.Image:
    """Noise of the two extremes and all between: sums end near half a level as often as anywhere."""
    levels_HW3 = np.random.default_rng(width * height).integers(-64, 320, (height, width, 3))
    return Image.fromarray(levels_HW3.clip(0, 255).astype(np.uint8))


def by_pillow(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))


@pytest.fixture
def no_pillow(monkeypatch):
    """Makes Pillow's own resize fail, so that a test knows which of both resized."""

    def forbid():
        monkeypatch.setattr(Image.Image, "resize", lambda *_, **__: pytest.fail("Pillow resized"))

    return forbid


@in_loops
@pytest.mark.parametrize(
    ("width", "height", "size"),
    [
        (1024, 768, (640, 480)),
        (1280, 853, (640, 427)),
        (641, 480, (640, 479)),
        (600, 900, (427, 640)),
        (4000, 97, (640, 16)),  # more than three pixels on each side of each centre
        (900, 17, (320, 6)),  # one row more than are taken at a time
        (900, 15, (7, 15)),  # no columns to resize
        (3, 2, (1, 1)),
        (5000, 40, (1, 1)),
        (2600, 1700, (640, 418)),  # more pixels than Pillow keeps together
    ],
)
def test_the_pixels_are_those_of_pillow(width, height, size, no_pillow):
    image = noise(width, height)
    expected_HW3 = by_pillow(image, size)
    no_pillow()
    made_HW3 = resampling.reduce(image, size)
    assert made_HW3.shape == (size[1], size[0], 3)
    assert made_HW3.flags.c_contiguous
    assert np.array_equal(made_HW3, expected_HW3)


@in_loops
def test_of_whatever_width_the_pixels_are_those_of_pillow(no_pillow):
    image, sizes = noise(131, 39), [(width, 39 - width % 3) for width in range(1, 131)]
    expected = [by_pillow(image, size) for size in sizes]
    no_pillow()
    made = [resampling.reduce(image, size) for size in sizes]
    assert [size for size, *pair in zip(sizes, made, expected, strict=True) if not np.array_equal(*pair)] == []


@in_loops
def test_black_and_white_stay_what_they_are():
    for level in (0, 255):
        made_HW3 = resampling.reduce(Image.new("RGB", (997, 613), (level,) * 3), (640, 394))
        assert (made_HW3 == level).all()


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [(300, 1000, (192, 640)), (1000, 1001, (1000, 640)), (50, 40, (60, 50))],
)
def test_what_the_loops_do_not_cover_is_resized_by_pillow(width, height, size):
    image = noise(width, height)
    assert np.array_equal(resampling.reduce(image, size), by_pillow(image, size))


def test_without_compiled_loops_the_pixels_are_the_same(monkeypatch):
    image = noise(1024, 768)
    made_HW3 = resampling.reduce(image, (640, 480))
    monkeypatch.setattr(resampling, "_library", lambda: None)
    assert np.array_equal(resampling.reduce(image, (640, 480)), made_HW3)


@in_loops
def test_an_image_that_pillow_keeps_in_pieces_is_resized_by_pillow(monkeypatch):
    image = noise(2600, 1700)
    monkeypatch.setattr(resampling, "_TOGETHER", 1 << 30)
    with pytest.raises(ValueError, match="contiguous"):
        image.__arrow_c_array__()
    assert np.array_equal(resampling.reduce(image, (640, 418)), by_pillow(image, (640, 418)))


@in_loops
def test_threads_do_not_disturb_each_other():
    images = [noise(700 + 13 * number, 500) for number in range(8)] * 4
    expected = [by_pillow(image, (320, 240)) for image in images]
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda image: resampling.reduce(image, (320, 240)), images))
    assert all(np.array_equal(*pair) for pair in zip(made, expected, strict=True))


@in_loops
def test_the_image_is_left_as_it_was():
    image = noise(800, 600)
    before = image.tobytes()
    resampling.reduce(image, (640, 480))
    image.putpixel((0, 0), (1, 2, 3))
    assert image.getpixel((0, 0)) == (1, 2, 3)
    assert image.tobytes()[3:] == before[3:]


CHECKOUT = Path(__file__).parent.parent.parent
IS_EDITABLE = compiled.LIBRARY.is_relative_to(CHECKOUT)


@pytest.mark.skipif(not IS_EDITABLE or not shutil.which("cc"), reason="not a checkout, or no C compiler")
def test_a_checkout_is_installed_with_the_loops():
    assert compiled.library() is not None


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
def test_a_library_without_the_loops_is_not_used(tmp_path, monkeypatch):
    """Clang 14 gives a function that it makes for several processors another name."""
    source, library = tmp_path / "other.c", tmp_path / "other.so"
    source.write_text("int resample_rows(void) { return 0; }\n")
    subprocess.run(["cc", "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    monkeypatch.setattr(compiled, "LIBRARY", library)
    compiled.library.cache_clear()
    try:
        assert compiled.library() is None
    finally:
        compiled.library.cache_clear()
