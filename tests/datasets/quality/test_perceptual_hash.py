from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageEnhance
from small_sets import astronaut, chelsea, coffee, grace_hopper, rocket

from mlcycle.datasets.quality.perceptual_hash import hash_thumbnails, near_duplicates, near_pairs

REAL = [astronaut, chelsea, coffee, grace_hopper, rocket]


def _thumbnails(*images: Image.Image) -> np.ndarray:
    return np.array([np.asarray(each.convert("L").resize((32, 32), Image.Resampling.BOX)) for each in images])


def _recompressed(image: Image.Image, quality: int) -> Image.Image:
    file = BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def _changes(image: Image.Image) -> dict[str, Image.Image]:
    width, height = image.size
    return {
        "recompressed": _recompressed(image, 30),
        "halved": image.resize((width // 2, height // 2)),
        "made a thumbnail": image.resize((100, 100 * height // width)),
        "grey": image.convert("L"),
        "brighter": ImageEnhance.Brightness(image).enhance(1.2),
    }


@pytest.mark.parametrize("change", _changes(astronaut()))
@pytest.mark.parametrize("original", REAL)
def test_a_changed_copy_is_a_near_duplicate(original, change):
    image = original()
    assert near_duplicates(_thumbnails(image, _changes(image)[change])).tolist() == [[0, 1]]


def test_different_images_are_not_near_duplicates():
    others = [Image.fromarray(getattr(skimage.data, name)()) for name in ("brick", "grass", "gravel", "camera", "moon")]
    crops = [astronaut().crop(box) for box in ((0, 0, 256, 256), (256, 0, 512, 256), (128, 128, 384, 384))]
    mirrored = chelsea().transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert len(near_duplicates(_thumbnails(*(image() for image in REAL), *others, *crops, mirrored))) == 0


def test_hundreds_of_faces_in_the_same_place_are_different_images():
    faces_N32 = _thumbnails(
        *(Image.fromarray((face * 255).astype(np.uint8)) for face in skimage.data.lfw_subset()[:100])
    )
    assert len(near_duplicates(faces_N32)) == 0


def test_images_of_one_flat_colour_are_not_near_duplicates():
    flat = [Image.new("L", (64, 64), level) for level in (0, 0, 90, 255)]
    assert len(near_duplicates(_thumbnails(*flat))) == 0


@pytest.mark.parametrize("distance", [0, 3, 8])
def test_pairs_equal_those_of_a_brute_force_comparison(distance):
    random = np.random.default_rng(3)
    hashes_N = random.integers(0, 2**63, 300, dtype=np.uint64)
    # Neighbours of some, at 0 to 12 bits.
    for index in range(100):
        flipped = random.choice(64, index % 13, replace=False)
        hashes_N[200 + index] = hashes_N[index] ^ np.bitwise_or.reduce(
            np.uint64(1) << flipped.astype(np.uint64), initial=0
        )
    bits_NB = np.unpackbits(hashes_N.view(np.uint8).reshape(-1, 8), axis=1).astype(int)
    distances_NN = (bits_NB[:, None] != bits_NB[None]).sum(axis=2)
    expected = np.argwhere(np.triu(distances_NN <= distance, 1))
    assert len(expected) >= 7 * (distance + 1)
    np.testing.assert_array_equal(near_pairs(hashes_N, distance), expected)


def test_no_images_have_no_pairs():
    assert near_duplicates(np.zeros((0, 32, 32), np.uint8)).shape == (0, 2)
    assert hash_thumbnails(np.zeros((0, 32, 32), np.uint8)).shape == (0,)
