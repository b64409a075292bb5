"""Light, colour, noise and blur, on whole batches and on the device that trains."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from mlcycle.training.random_streams import Stream, generator
from mlcycle.training.recipes.recipe import LOOKS, Augment

# How much red, green and blue weigh in what an eye calls brightness (ITU-R BT.601).
LUMA = (0.299, 0.587, 0.114)
# Every so many rows and columns give an image's mean.
MEAN_STEP = 8
# So many pixels of a row are changed at once: three values a row are too few for a product of matrices to be quick.
TOGETHER = 4
# How far a step's window into the field of noise can lie from the field's corner, in pixels.
NOISE_REACH = 256


def augment(pixels_BSS3: Tensor, looks_BL: Tensor, rule: Augment, noise_3SS: Tensor) -> Tensor:
    """Changes the images' look and leaves every pixel in its place.

    Args:
        pixels_BSS3: uint8, RGB.
        looks_BL: what was drawn for each image, in the order of `LOOKS`, from 0 to 1; on the CPU, so that a GPU is
            not waited for to tell which images are blurred.
        noise_3SS: of deviation 1; its kind of number is that of the images: whole numbers up to 256 are exact in
            bfloat16, which is a fifth of the work.

    Returns:
        images_B3SS: 0 to 255, channels last in memory.
    """
    batch, side = pixels_BSS3.shape[:2]
    there_BL = looks_BL.to(pixels_BSS3.device, non_blocking=True)
    looks = dict(zip(LOOKS, there_BL.unbind(1), strict=True))
    pixels = pixels_BSS3.to(noise_3SS.dtype).view(batch, -1, 3 * TOGETHER)
    mean_B3 = pixels_BSS3[:, ::MEAN_STEP, ::MEAN_STEP].float().mean((1, 2))
    matrix_B33, shift_B = (each.to(pixels) for each in _colour_change(mean_B3, rule, looks))
    images = torch.bmm(pixels, _repeated(matrix_B33)).view(batch, side, side, 3).permute(0, 3, 1, 2)
    images += shift_B.view(batch, 1, 1, 1)
    for place in (looks_BL[:, LOOKS.index("blur")] < rule.blur).nonzero().flatten().tolist():
        images[place] = _soft(images[place : place + 1])[0]
    if rule.noise:
        strength = (looks["noise"] * rule.noise * 255).to(images)
        images.addcmul_(noise_3SS, strength.view(batch, 1, 1, 1))
    return images.clamp_(0, 255)


def _repeated(matrix_B33: Tensor) -> Tensor:
    """Returns matrices that have each of these several times on their diagonal."""
    diagonal = torch.eye(TOGETHER, device=matrix_B33.device, dtype=matrix_B33.dtype)
    return torch.einsum("kl,bij->bkilj", diagonal, matrix_B33).reshape(-1, 3 * TOGETHER, 3 * TOGETHER)


def noise_field(side: int, seed: int) -> Tensor:
    """Returns noise_TT3 of deviation 1, from which each step takes another window of at most `side` pixels.

    Drawing noise for each step would cost as much as the network's own work.
    """
    across = side + NOISE_REACH
    own_seed = int(generator(Stream.NOISE_FIELD, seed).integers(2**63))  # else it begins as the weights do
    return torch.randn((across, across, 3), generator=torch.Generator().manual_seed(own_seed))


def noise_window(field_TT3: Tensor, side: int, seed: int, step: int) -> Tensor:
    """Returns noise_3SS, a step's window into the field: all images of a step have the same, in another strength."""
    x, y = generator(Stream.NOISE_WINDOW, seed, step).integers(0, len(field_TT3) - side + 1, 2)
    return field_TT3[y : y + side, x : x + side].permute(2, 0, 1)


def _soft(images_B3SS: Tensor) -> Tensor:
    """Returns the mean of each pixel and its eight neighbours."""
    around = functional.pad(images_B3SS, (1, 1, 1, 1), mode="replicate")
    # As a convolution a twentieth of the time that avg_pool2d takes in bfloat16.
    return functional.conv2d(around, around.new_full((3, 1, 3, 3), 1 / 9), groups=3)


def _colour_change(mean_B3: Tensor, rule: Augment, looks: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Saturation, contrast and brightness as one matrix and one shift an image, so that pixels are touched once.

    Returns matrix_B33 and shift_B, for pixels in rows: new = pixels @ matrix + shift.
    """

    def factor(name: str, strength: float) -> Tensor:
        return (1 + (2 * looks[name] - 1) * strength).view(-1, 1, 1)

    luma_31 = torch.stack([mean_B3.new_full((1,), each) for each in LUMA])
    contrast, brightness = factor("contrast", rule.contrast), factor("brightness", rule.brightness)
    saturation = factor("saturation", rule.saturation) * (looks["grey"] >= rule.grey).view(-1, 1, 1)
    mix = saturation * torch.eye(3, device=mean_B3.device) + (1 - saturation) * luma_31
    shift = brightness * (1 - contrast) * (mean_B3.unsqueeze(1) @ luma_31)
    return brightness * contrast * mix, shift.flatten()
