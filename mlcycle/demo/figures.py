"""One figure of a demo scene: a face, or something else in a face's place, with hair, neck and clothes about it.

All that could betray a face without being one (the soft edge, the skin's colour, the hair, the shoulders, the blur of
enlarging) is given to faces and to other things alike, so that the network has to learn what lies between them.
Lengths are in pixels of the 25 x 25 photographs until a figure is brought to its final size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from mlcycle.demo.backdrops import Backdrops, as_picture

PATCH = 25
# Where the tight box of a face (forehead to chin, ear to ear) lies in a patch: measured on the mean of all faces.
FACE_BOX = (2.2, 0.6, 20.2, 23.9)
# A figure's canvas, and where the patch lies on it.
WIDTH, HEIGHT, LEFT, TOP = 62, 80, 19, 17


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure to be pasted: its picture, its mask, and its face's box (x1 y1 x2 y2, pixels of this picture)."""

    picture: Image.Image
    mask: Image.Image
    box_4: np.ndarray


def new_face(rng: np.random.Generator, faces_N2525: np.ndarray) -> np.ndarray:
    """Returns a face in grey 0..1: one of those photographed, or the upper half of one flowing into another's lower."""
    face_2525 = faces_N2525[rng.integers(len(faces_N2525))]
    if rng.random() < 0.4:
        other_2525 = faces_N2525[rng.integers(len(faces_N2525))]
        seam = rng.uniform(10, 16)
        share_P1 = 1 / (1 + np.exp((np.arange(PATCH)[:, None] - seam) / rng.uniform(1.0, 4.0)))
        levelled_2525 = (other_2525 - other_2525.mean()) / other_2525.std() * face_2525.std() + face_2525.mean()
        face_2525 = share_P1 * face_2525 + (1 - share_P1) * levelled_2525
    return face_2525[:, ::-1] if rng.random() < 0.5 else face_2525


def new_distractor(
    rng: np.random.Generator, faces_N2525: np.ndarray, others_N2525: np.ndarray, backdrops: Backdrops
) -> np.ndarray:
    """Returns what is no face: a photographed non-face, a piece of a backdrop, or a face with its parts out of place."""
    kind = rng.random()
    if kind < 0.2:
        return others_N2525[rng.integers(len(others_N2525))]
    if kind < 0.4:
        return np.asarray(backdrops.crop(rng, (PATCH, PATCH), (0.2, 2.0)).convert("L"), np.float64) / 255
    face_2525 = faces_N2525[rng.integers(len(faces_N2525))]
    if kind < 0.6:
        return _other_phases(rng, face_2525)
    if kind < 0.75:
        return _shuffled(rng, face_2525)
    if kind < 0.87:
        return np.roll(face_2525, (int(rng.integers(8, 18)), int(rng.integers(8, 18))), axis=(0, 1))
    return np.rot90(face_2525, int(rng.integers(1, 4))) if kind < 0.97 else 1 - face_2525


def _other_phases(rng: np.random.Generator, face_2525: np.ndarray) -> np.ndarray:
    """The waves that a face is made of, each as strong as it was, and all shifted: its stains and shades, no face."""
    spectrum = np.fft.rfft2(face_2525 - face_2525.mean())
    turned_2525 = np.fft.irfft2(np.abs(spectrum) * np.exp(2j * np.pi * rng.random(spectrum.shape)), (PATCH, PATCH))
    # Brighter in the middle, as faces often are.
    hill_P = np.hanning(PATCH)
    return turned_2525 + face_2525.mean() + rng.uniform(0, 0.5) * hill_P[:, None] * hill_P[None, :]


def _shuffled(rng: np.random.Generator, face_2525: np.ndarray) -> np.ndarray:
    """A face cut into 25 tiles that are laid in another order."""
    tiles = face_2525.reshape(5, 5, 5, 5).transpose(0, 2, 1, 3).reshape(25, 5, 5)[rng.permutation(25)]
    return tiles.reshape(5, 5, 5, 5).transpose(0, 2, 1, 3).reshape(PATCH, PATCH)


def make_figure(
    rng: np.random.Generator, patch_2525: np.ndarray, backdrops: Backdrops, height: float, behind: Image.Image
) -> Figure:
    """Dresses a patch and brings it to the size at which its face box is `height` pixels high.

    `behind` is a piece of the scene: its mean colour shows where the figure's soft edges let it.
    """
    final = height / (FACE_BOX[3] - FACE_BOX[1])
    # Small figures are drawn larger and reduced: that is what a camera does too.
    scale = max(final, 1.0)
    canvas = Image.new("RGB", (round(WIDTH * scale), round(HEIGHT * scale)), _mean_colour(behind))
    mask = Image.new("L", canvas.size, 0)
    skin = _coloured(rng, _enlarged(rng, patch_2525, scale))
    if rng.random() < 0.65:
        _add_body(rng, (canvas, mask), backdrops, scale, _mean_colour(skin))
    if rng.random() < 0.7:
        _add_hair(rng, (canvas, mask), backdrops, scale)
    _add_patch(rng, (canvas, mask), skin, scale)
    if rng.random() < 0.35:
        _add_fringe(rng, (canvas, mask), backdrops, scale)
    return _turned(rng, canvas, mask, (scale, final))


def _enlarged(rng: np.random.Generator, patch_2525: np.ndarray, scale: float) -> Image.Image:
    """Brings a patch to `scale` times its size, in a new light and with fine detail added, in grey."""
    spread = max(float(patch_2525.std()), 0.02)
    patch_2525 = (patch_2525 - patch_2525.mean()) / spread * rng.uniform(0.09, 0.2) + rng.uniform(0.3, 0.72)
    slope = rng.normal(0, 0.2, 2)
    across_P, down_P = np.linspace(-1, 1, PATCH), np.linspace(-1, 1, PATCH)
    patch_2525 = patch_2525 * (1 + slope[0] * across_P[None, :] + slope[1] * down_P[:, None])
    side = round(PATCH * scale)
    grey = Image.fromarray(patch_2525.astype(np.float32)).resize((side, side), Image.Resampling.LANCZOS)
    if scale <= 1.5:
        return as_picture(np.asarray(grey))
    # An enlarged photograph is blurred, and blur must not be the mark of a face: edges are drawn after, skin gets grain.
    crisp = as_picture(np.asarray(grey)).filter(
        ImageFilter.UnsharpMask(scale * rng.uniform(0.4, 0.9), int(rng.uniform(0, 130)), 0)
    )
    grain_SS = np.zeros((side, side), np.float32)
    for size in (1, 3):
        coarse = Image.fromarray(rng.standard_normal((side // size + 1, side // size + 1), np.float32))
        grain_SS += rng.uniform(0, 0.03) * np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))
    return as_picture(np.asarray(crisp, np.float32) / 255 * (1 + grain_SS))


def _coloured(rng: np.random.Generator, grey: Image.Image) -> Image.Image:
    # A curve for each channel: red rises first and blue last, as light on skin does.
    if rng.random() < 0.15:
        return grey.convert("RGB")
    powers = rng.uniform(0.55, 0.95), rng.uniform(0.9, 1.1), rng.uniform(1.05, 1.6)
    levels_256 = np.arange(256) / 255
    curves = [(levels_256**power * 255 + 0.5).astype(np.uint8) for power in powers]
    return Image.merge("RGB", [grey.point(list(curve)) for curve in curves])


def _mean_colour(picture: Image.Image) -> tuple[int, int, int]:
    red, green, blue = picture.resize((1, 1), Image.Resampling.BOX).convert("RGB").getpixel((0, 0))  # type: ignore[misc]
    return int(red), int(green), int(blue)


def _lay(layers: tuple[Image.Image, Image.Image], filling: Image.Image, shape: Image.Image) -> None:
    canvas, mask = layers
    canvas.paste(filling, (0, 0), shape)
    mask.paste(ImageChops.lighter(mask, shape))


def _ellipse(
    layers: tuple[Image.Image, Image.Image],
    middle: tuple[float, float],
    radii: tuple[float, float],
    scale: float,
    soft: float,
) -> Image.Image:
    shape = Image.new("L", layers[1].size, 0)
    (x, y), (across, down) = middle, radii
    ImageDraw.Draw(shape).ellipse([v * scale for v in (x - across, y - down, x + across, y + down)], fill=255)
    return shape.filter(ImageFilter.GaussianBlur(soft * scale))


def _cloth(rng: np.random.Generator, backdrops: Backdrops, size: tuple[int, int], dark: bool) -> Image.Image:
    colour_3 = rng.uniform(0.02, 0.5) if dark else rng.uniform(0.2, 1.0)
    colour_3 = colour_3 * (1 + rng.normal(0, 0.1 if rng.random() < 0.6 else 0.4, 3))
    pattern = (
        np.asarray(backdrops.crop(rng, (max(size[0] // 2, 1), max(size[1] // 2, 1))).convert("L"), np.float32) / 255
    )
    pixels_HW3 = colour_3 + (pattern - pattern.mean())[..., None] * rng.uniform(0, 0.7)
    return as_picture(pixels_HW3).resize(size, Image.Resampling.BILINEAR)


def _add_body(
    rng: np.random.Generator,
    layers: tuple[Image.Image, Image.Image],
    backdrops: Backdrops,
    scale: float,
    skin: tuple[int, int, int],
) -> None:
    middle = LEFT + 11.2 + rng.normal(0, 1.5)
    shade = rng.uniform(0.6, 1.0)
    colour = tuple(int(channel * shade) for channel in skin)
    neck = _ellipse(layers, (middle, TOP + 24), (rng.uniform(5, 8), rng.uniform(8, 12)), scale, 0.5)
    shoulders = rng.uniform(19, 26), rng.uniform(16, 26)
    body = _ellipse(layers, (middle, TOP + PATCH + rng.uniform(1, 7) + shoulders[1]), shoulders, scale, 0.5)
    _lay(layers, Image.new("RGB", layers[0].size, colour), neck)
    _lay(layers, _cloth(rng, backdrops, layers[0].size, dark=rng.random() < 0.5), body)


def _add_hair(
    rng: np.random.Generator, layers: tuple[Image.Image, Image.Image], backdrops: Backdrops, scale: float
) -> None:
    radii = rng.uniform(9.5, 16), rng.uniform(13, 19)
    middle = LEFT + 11.2 + rng.normal(0, 1), TOP + 12 - rng.uniform(1, 7) + max(0.0, radii[1] - 16)
    shape = _ellipse(layers, middle, radii, scale, rng.uniform(0.3, 1.0))
    _lay(layers, _cloth(rng, backdrops, layers[0].size, dark=rng.random() < 0.8), shape)


def _add_patch(
    rng: np.random.Generator, layers: tuple[Image.Image, Image.Image], skin: Image.Image, scale: float
) -> None:
    # Either the face's oval alone, or nearly the whole photograph with its own surroundings; the edge is soft in both.
    corner = round(LEFT * scale), round(TOP * scale)
    soft = rng.uniform(0.5, 1.4)
    if rng.random() < 0.55:
        middle = LEFT + 11.2 + rng.normal(0, 0.4), TOP + 12.2 + rng.normal(0, 0.4)
        shape = _ellipse(layers, middle, (rng.uniform(8.8, 10.5), rng.uniform(11.6, 13.5)), scale, soft)
    else:
        shape = Image.new("L", layers[1].size, 0)
        inset = 1.2 * soft
        edges = LEFT + inset, TOP + inset * 0.6, LEFT + PATCH - inset, TOP + PATCH - inset * 0.6
        ImageDraw.Draw(shape).rounded_rectangle([v * scale for v in edges], radius=7 * scale, fill=255)
        shape = shape.filter(ImageFilter.GaussianBlur(soft * scale))
    inside = Image.new("L", layers[1].size, 0)
    inside.paste(255, (*corner, corner[0] + skin.width, corner[1] + skin.height))
    shape = ImageChops.darker(shape, inside)
    filling = layers[0].copy()
    filling.paste(skin, corner)
    _lay(layers, filling, shape)


def _add_fringe(
    rng: np.random.Generator, layers: tuple[Image.Image, Image.Image], backdrops: Backdrops, scale: float
) -> None:
    # A fringe or the brim of a hat: it comes down over the forehead, and sticks out above.
    radii = rng.uniform(9, 13), rng.uniform(4, 8)
    lowest = TOP + rng.uniform(2, 5.5)
    shape = _ellipse(layers, (LEFT + 11.2 + rng.normal(0, 1.5), lowest - radii[1]), radii, scale, rng.uniform(0.2, 0.7))
    _lay(layers, _cloth(rng, backdrops, layers[0].size, dark=rng.random() < 0.7), shape)


def _turned(rng: np.random.Generator, canvas: Image.Image, mask: Image.Image, scales: tuple[float, float]) -> Figure:
    scale, final = scales
    degrees = float(np.clip(rng.normal(0, 9), -25, 25))
    stretch = float(np.exp(rng.normal(0, 0.06)))
    size = max(8, round(canvas.width * final / scale * stretch)), max(8, round(canvas.height * final / scale))
    angle = np.radians(-degrees)
    turn_22 = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    picture, shape = (_turn(layer, turn_22).resize(size, Image.Resampling.BICUBIC) for layer in (canvas, mask))
    offset_2 = np.array(
        [LEFT + (FACE_BOX[0] + FACE_BOX[2]) / 2 - WIDTH / 2, TOP + (FACE_BOX[1] + FACE_BOX[3]) / 2 - HEIGHT / 2]
    )
    middle_2 = turn_22 @ offset_2 + (WIDTH / 2, HEIGHT / 2)
    # The box about an oval that has been turned.
    radii_2 = np.array([FACE_BOX[2] - FACE_BOX[0], FACE_BOX[3] - FACE_BOX[1]]) / 2
    reach_2 = np.sqrt((turn_22**2) @ (radii_2**2))
    zoom_2 = np.array(size) / (WIDTH, HEIGHT)
    return Figure(picture, shape, np.concatenate([(middle_2 - reach_2) * zoom_2, (middle_2 + reach_2) * zoom_2]))


def _turn(layer: Image.Image, turn_22: np.ndarray) -> Image.Image:
    back_22, middle_2 = turn_22.T, np.array(layer.size) / 2
    shift_2 = middle_2 - back_22 @ middle_2
    coefficients = (*back_22[0], shift_2[0], *back_22[1], shift_2[1])
    return layer.transform(layer.size, Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
