"""Photometric augmentation: no pixel moves, and the same state gives the same images."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from mlcycle.training.data.augment import LUMA, augment, noise_field, noise_window  # noqa: E402
from mlcycle.training.recipes.recipe import PHOTOMETRIC, Augment  # noqa: E402

pytestmark = pytest.mark.training

STILL = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "grey": 0.0, "noise": 0.0, "blur": 0.0}


def augmented(pixels_BSS3: torch.Tensor, rule: Augment, seed: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    photometric_BL = torch.rand((len(pixels_BSS3), len(PHOTOMETRIC)), generator=torch.Generator().manual_seed(seed))
    noise_3SS = noise_window(noise_field(32, 0).to(dtype), 32, 0, seed)
    return augment(pixels_BSS3, photometric_BL, rule, noise_3SS)


def pixels() -> torch.Tensor:
    return torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_a_rule_without_augmentation_changes_nothing() -> None:
    images = augmented(pixels(), Augment(crop=96, **STILL), 0)
    assert torch.allclose(images, pixels().permute(0, 3, 1, 2).float(), atol=1e-3)


def test_grey_images_have_no_colour_and_keep_their_brightness() -> None:
    images = augmented(pixels(), Augment(crop=96, **STILL | {"grey": 1.0}), 0)
    assert (images.amax(1) - images.amin(1)).max() < 1e-2
    luma = (pixels().float() * torch.tensor(LUMA)).sum(-1)
    assert torch.allclose(images[:, 0], luma, atol=1e-2)


def test_contrast_keeps_the_mean_brightness() -> None:
    soft = torch.full((2, 32, 32, 3), 100, dtype=torch.uint8)
    soft[:, 16:] = 140
    images = augmented(soft, Augment(crop=96, **STILL | {"contrast": 0.5}), 1)
    assert images.mean((1, 2, 3)).tolist() == pytest.approx([120.0, 120.0], abs=0.1)
    assert (images.amax((1, 2, 3)) - images.amin((1, 2, 3))).tolist() != pytest.approx([40.0, 40.0], abs=1.0)


def test_the_same_state_gives_the_same_images_within_the_range_of_pixels() -> None:
    rule = Augment(crop=96, brightness=1.0, contrast=1.0, saturation=1.0, noise=0.2, blur=0.5)
    one, other = (augmented(pixels(), rule, 7) for _ in range(2))
    assert torch.equal(one, other)
    assert one.min() >= 0
    assert one.max() <= 255
    assert not torch.equal(one, augmented(pixels(), rule, 8))


def test_half_precision_is_exact_to_one_pixel_value() -> None:
    rule = Augment(crop=96, blur=0.0)
    exact, half = (augmented(pixels(), rule, 3, each) for each in (torch.float32, torch.bfloat16))
    assert half.dtype == torch.bfloat16
    difference = (exact - half.float()).abs()
    # Above 128 a step of bfloat16 is one grey value.
    assert difference.mean() < 0.6
    assert difference.max() <= 3
