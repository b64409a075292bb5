"""Backgrounds of the demo's scenes: face-free sample images of scikit-image, recoloured and combined.

The images are read from the package's folder, not downloaded. The left part of each is for training scenes and the
right part for validation scenes, so that they share no pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps

# Without astronaut, coffee and camera (not used for training) and coins (which show small portraits).
IMAGES = {
    "brick.png": "a brick wall; CC0 (CC0Textures)",
    "cell.png": "a cell floating in saline, by Paul Müller and others; CC0",
    "chelsea.png": "Chelsea the cat, by Stefan van der Walt; CC0",
    "clock_motion.png": "a clock, blurred by motion, by Stefan van der Walt; public domain",
    "grass.png": "grass, by linolafett; CC0",
    "gravel.png": "gravel; CC0 (CC0Textures)",
    "hubble_deep_field.jpg": "the Hubble eXtreme Deep Field, by NASA; public domain",
    "ihc.png": "stained tissue, by the Center for Microscopy And Molecular Imaging; no known restrictions",
    "moon.png": "the surface of the moon, by NASA; public domain",
    "motorcycle_left.png": "a motorcycle in a garage; Middlebury 2014 stereo benchmark, by D. Scharstein and others",
    "page.png": "a scanned page; part of scikit-image (BSD-3-Clause)",
    "retina.jpg": "a retina, by Mikael Häggström; CC0",
    "rocket.jpg": "a Falcon 9 before its launch, by SpaceX; public domain",
    "text.png": "writing in perspective, from Wikipedia; no known restrictions",
}
TRAINING_SHARE = 0.7


@dataclass(frozen=True, slots=True)
class Backdrops:
    """The parts of the images that belong to one split, each an RGB image."""

    parts: tuple[Image.Image, ...]

    def crop(
        self, rng: np.random.Generator, size: tuple[int, int], zoom: tuple[float, float] = (0.4, 2.5)
    ) -> Image.Image:
        """Returns a random crop of a random image at width, height `size`, mirrored at random and recoloured."""
        part = self.parts[rng.integers(len(self.parts))]
        scale = np.exp(rng.uniform(*np.log(zoom)))
        width, height = (min(side / scale, limit) for side, limit in zip(size, part.size, strict=True))
        left, top = rng.uniform(0, part.width - width), rng.uniform(0, part.height - height)
        piece = part.resize(size, Image.Resampling.BICUBIC, box=(left, top, left + width, top + height))
        if rng.random() < 0.5:
            piece = ImageOps.mirror(piece)
        return recoloured(rng, piece)


def load_backdrops(folder: Path, training: bool) -> Backdrops:
    """Opens the images in scikit-image's data folder and keeps the left or the right part of each."""
    parts = []
    for name in IMAGES:
        with Image.open(folder / name) as file:
            whole = file.convert("RGB")
        whole.thumbnail((800, 800))
        seam = round(whole.width * TRAINING_SHARE)
        parts.append(whole.crop((0, 0, seam, whole.height) if training else (seam, 0, whole.width, whole.height)))
    return Backdrops(tuple(parts))


def recoloured(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    """Returns an RGB image with random channel order, tint, brightness and contrast."""
    pixels_HW3 = np.asarray(image, np.float32) / 255
    if rng.random() < 0.3:
        pixels_HW3 = pixels_HW3[..., rng.permutation(3)]
    if rng.random() < 0.15:
        pixels_HW3 = pixels_HW3.mean(axis=2, keepdims=True).repeat(3, axis=2)
    mean = pixels_HW3.mean()
    contrast, tint_3 = rng.uniform(0.3, 1.3), rng.uniform(0.5, 1.5, 3)
    level = rng.uniform(0.05, 0.9)
    pixels_HW3 = (level + (pixels_HW3 - mean) * contrast) * (0.5 + 0.5 * tint_3)
    return as_image(pixels_HW3)


def as_image(pixels_HW3: np.ndarray) -> Image.Image:
    """Turns floats in 0..1 into an 8-bit image."""
    return Image.fromarray((pixels_HW3 * 255 + 0.5).clip(0, 255).astype(np.uint8))


def compose_backdrop(rng: np.random.Generator, backdrops: Backdrops, side: int) -> Image.Image:
    """Returns a square backdrop: a crop, two blended crops, or a plain wall, with shapes cut from other crops."""
    scene = _plain_wall(rng, side) if rng.random() < 0.25 else backdrops.crop(rng, (side, side))
    if rng.random() < 0.4:
        where = as_image(rng.uniform(-0.3, 1.3, (4, 4))).resize((side, side), Image.Resampling.BICUBIC)
        scene.paste(backdrops.crop(rng, (side, side)), (0, 0), where)
    for _ in range(rng.integers(0, 10)):
        _add_shape(rng, backdrops, scene)
    return scene


def _plain_wall(rng: np.random.Generator, side: int) -> Image.Image:
    corners_223 = rng.uniform(0.05, 1.0) * (1 + rng.normal(0, 0.2, 3)) + rng.normal(0, 0.1, (2, 2, 3))
    return as_image(corners_223).resize((side, side), Image.Resampling.BICUBIC)


def _add_shape(rng: np.random.Generator, backdrops: Backdrops, scene: Image.Image) -> None:
    # Ovals, rings and edges of every size, so that the network cannot recognise a face by its outline alone.
    width, height = np.exp(rng.uniform(np.log(10), np.log(scene.width * 0.8), 2)).astype(int)
    mask = Image.new("L", (int(width), int(height)), 0)
    draw = ImageDraw.Draw(mask)
    kind = rng.integers(4)
    if kind == 0:
        draw.ellipse((0, 0, width - 1, height - 1), fill=255)
    elif kind == 1:
        ring = max(2, int(min(width, height) * rng.uniform(0.05, 0.4)))
        draw.ellipse((0, 0, width - 1, height - 1), outline=255, width=ring)
    elif kind == 2:
        draw.rectangle((0, 0, width - 1, height - 1), fill=255)
    else:
        corners = [(float(rng.uniform(0, width)), float(rng.uniform(0, height))) for _ in range(4)]
        draw.polygon(corners, fill=255)
    mask = mask.rotate(rng.uniform(-40, 40), Image.Resampling.BILINEAR, expand=True)
    mask = mask.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 3.0))))
    filling = _plain_wall(rng, 8).resize(mask.size) if rng.random() < 0.4 else backdrops.crop(rng, mask.size)
    place = rng.integers(-20, scene.width - 10, 2)
    scene.paste(filling, (int(place[0]), int(place[1])), mask)
