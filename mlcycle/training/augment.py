"""Light, colour, noise and blur, on whole batches and on the device that trains."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from mlcycle.training.recipe import Augment

# How much red, green and blue weigh in what an eye calls brightness (ITU-R BT.601).
LUMA = (0.299, 0.587, 0.114)
# Every so many rows and columns give a picture's mean.
MEAN_STEP = 4


def augment(pixels_BSS3: Tensor, rule: Augment, random: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Changes the pictures' look and leaves every pixel in its place.

    Args:
        pixels_BSS3: uint8, RGB.
        random: a generator on the CPU; the same state gives the same pictures.
        dtype: of the pictures; whole numbers up to 256 are exact in bfloat16, which is a fifth of the work.

    Returns:
        pictures_B3SS: 0 to 255, channels last in memory.
    """
    batch, side = pixels_BSS3.shape[:2]
    pixels = pixels_BSS3.to(dtype).view(batch, side * side, 3)
    mean_B3 = pixels_BSS3[:, ::MEAN_STEP, ::MEAN_STEP].float().mean((1, 2))
    matrix_B33, shift_B = (each.to(dtype) for each in _colour_change(mean_B3, rule, random))
    pictures = torch.bmm(pixels, matrix_B33).view(batch, side, side, 3).permute(0, 3, 1, 2)
    pictures += shift_B.view(batch, 1, 1, 1)
    blurred = (_uniform(batch, random) < rule.blur).to(pictures.device)
    if blurred.any():
        pictures[blurred] = _soft(pictures[blurred])
    if rule.noise:
        # One field of noise a batch, in another strength for each picture: drawing one for each would cost as much as
        # the network's own step.
        field = torch.randn((1, side, side, 3), generator=random).to(pictures).permute(0, 3, 1, 2)
        strength = (_uniform(batch, random) * rule.noise * 255).to(pictures)
        pictures.addcmul_(field, strength.view(batch, 1, 1, 1))
    return pictures.clamp_(0, 255)


def _soft(pictures_B3SS: Tensor) -> Tensor:
    """Returns the mean of each pixel and its eight neighbours."""
    around = functional.pad(pictures_B3SS, (1, 1, 1, 1), mode="replicate")
    # As a convolution a twentieth of the time that avg_pool2d takes in bfloat16.
    return functional.conv2d(around, around.new_full((3, 1, 3, 3), 1 / 9), groups=3)


def _colour_change(mean_B3: Tensor, rule: Augment, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Saturation, contrast and brightness as one matrix and one shift a picture, so that pixels are touched once.

    Returns matrix_B33 and shift_B, for pixels in rows: new = pixels @ matrix + shift.
    """
    batch, device = len(mean_B3), mean_B3.device

    def factor(strength: float) -> Tensor:
        return (1 + (2 * _uniform(batch, random) - 1) * strength).to(device).view(batch, 1, 1)

    luma_31 = torch.tensor(LUMA, device=device).view(3, 1)
    saturation, contrast, brightness = factor(rule.saturation), factor(rule.contrast), factor(rule.brightness)
    colourful = (_uniform(batch, random) >= rule.grey).to(device).view(batch, 1, 1)
    saturation = saturation * colourful
    mix = saturation * torch.eye(3, device=device) + (1 - saturation) * luma_31
    shift = brightness * (1 - contrast) * (mean_B3.unsqueeze(1) @ luma_31)
    return brightness * contrast * mix, shift.flatten()


def _uniform(count: int, random: torch.Generator) -> Tensor:
    return torch.rand(count, generator=random)
