"""Photometric augmentation (brightness, colour, noise, blur) of whole batches, on the training device."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from mlcycle.training.random_streams import Stream, generator
from mlcycle.training.recipes.recipe import PHOTOMETRIC, Augment

# The weights of red, green and blue in luma (ITU-R BT.601).
LUMA = (0.299, 0.587, 0.114)
# An image's mean is taken over every eighth row and column.
MEAN_STEP = 8
# How many pixels of a row one matrix product transforms: rows of a single pixel (three values) would be slow.
PIXELS_PER_ROW = 4
# The largest offset of a step's window from the corner of the noise field, in pixels.
NOISE_REACH = 256


def augment(pixels_BSS3: Tensor, photometric_BL: Tensor, rule: Augment, noise_3SS: Tensor) -> Tensor:
    """Changes the colours of images, without moving pixels.

    Args:
        pixels_BSS3: uint8, RGB.
        photometric_BL: the random numbers of each image, 0 to 1, in the order of `PHOTOMETRIC`; on the CPU, so that
            selecting the images to blur does not wait for a GPU.
        noise_3SS: noise of standard deviation 1. Its dtype is that of the result: bfloat16 holds integers up to 256
            exactly, at a fifth of the cost.

    Returns:
        images_B3SS: 0 to 255, channels last in memory.
    """
    batch, side = pixels_BSS3.shape[:2]
    on_device_BL = photometric_BL.to(pixels_BSS3.device, non_blocking=True)
    draws = dict(zip(PHOTOMETRIC, on_device_BL.unbind(1), strict=True))
    pixels = pixels_BSS3.to(noise_3SS.dtype).view(batch, -1, 3 * PIXELS_PER_ROW)
    mean_B3 = pixels_BSS3[:, ::MEAN_STEP, ::MEAN_STEP].float().mean((1, 2))
    matrix_B33, shift_B = (each.to(pixels) for each in _colour_change(mean_B3, rule, draws))
    images = torch.bmm(pixels, _repeated(matrix_B33)).view(batch, side, side, 3).permute(0, 3, 1, 2)
    images += shift_B.view(batch, 1, 1, 1)
    for place in (photometric_BL[:, PHOTOMETRIC.index("blur")] < rule.blur).nonzero().flatten().tolist():
        images[place] = _blurred(images[place : place + 1])[0]
    if rule.noise:
        strength = (draws["noise"] * rule.noise * 255).to(images)
        images.addcmul_(noise_3SS, strength.view(batch, 1, 1, 1))
    return images.clamp_(0, 255)


def _repeated(matrix_B33: Tensor) -> Tensor:
    """Returns block-diagonal matrices with PIXELS_PER_ROW copies of each matrix."""
    diagonal = torch.eye(PIXELS_PER_ROW, device=matrix_B33.device, dtype=matrix_B33.dtype)
    return torch.einsum("kl,bij->bkilj", diagonal, matrix_B33).reshape(-1, 3 * PIXELS_PER_ROW, 3 * PIXELS_PER_ROW)


def noise_field(side: int, seed: int) -> Tensor:
    """Returns noise_TT3 of standard deviation 1, of which each step uses another window of at most `side` pixels.

    Drawing noise for each step would cost as much as the network itself.
    """
    across = side + NOISE_REACH
    own_seed = int(generator(Stream.NOISE_FIELD, seed).integers(2**63))  # not the seed of the initial weights
    return torch.randn((across, across, 3), generator=torch.Generator().manual_seed(own_seed))


def noise_window(field_TT3: Tensor, side: int, seed: int, step: int) -> Tensor:
    """Returns noise_3SS, a step's window of the field: all images of a step share it, scaled differently."""
    x, y = generator(Stream.NOISE_WINDOW, seed, step).integers(0, len(field_TT3) - side + 1, 2)
    return field_TT3[y : y + side, x : x + side].permute(2, 0, 1)


def _blurred(images_B3SS: Tensor) -> Tensor:
    """Returns the mean of each pixel and its eight neighbours."""
    around = functional.pad(images_B3SS, (1, 1, 1, 1), mode="replicate")
    # In bfloat16, a convolution takes a twentieth of the time of avg_pool2d.
    return functional.conv2d(around, around.new_full((3, 1, 3, 3), 1 / 9), groups=3)


def _colour_change(mean_B3: Tensor, rule: Augment, draws: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Combines saturation, contrast and brightness into one matrix and one shift per image.

    Returns matrix_B33 and shift_B, for pixels in rows: new = pixels @ matrix + shift.
    """

    def factor(name: str, strength: float) -> Tensor:
        return (1 + (2 * draws[name] - 1) * strength).view(-1, 1, 1)

    luma_31 = torch.stack([mean_B3.new_full((1,), each) for each in LUMA])
    contrast, brightness = factor("contrast", rule.contrast), factor("brightness", rule.brightness)
    saturation = factor("saturation", rule.saturation) * (draws["grey"] >= rule.grey).view(-1, 1, 1)
    mix = saturation * torch.eye(3, device=mean_B3.device) + (1 - saturation) * luma_31
    shift = brightness * (1 - contrast) * (mean_B3.unsqueeze(1) @ luma_31)
    return brightness * contrast * mix, shift.flatten()
