"""One figure of a demo scene: a face or a distractor in its place, with hair, neck and clothes around it.

Every cue other than the face itself (soft edge, skin colour, hair, shoulders, blur of enlarging) occurs with faces and
distractors alike, so that the network has to learn the face. Lengths are in pixels of the 25 x 25 images until a
figure is resized to its final size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from mlcycle.demo.backdrops import Backdrops, as_image

PATCH = 25
# The tight box of a face (forehead to chin, ear to ear) in a patch, measured on the mean of all faces.
FACE_BOX = (2.2, 0.6, 20.2, 23.9)
# The size of a figure's canvas, and the corner of the patch on it.
WIDTH, HEIGHT, LEFT, TOP = 62, 80, 19, 17


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure to paste: its image, its mask, and the box of its face (x1 y1 x2 y2, pixels of this image)."""

    image: Image.Image
    mask: Image.Image
    box_4: np.ndarray


def new_face(rng: np.random.Generator, faces_N2525: np.ndarray) -> np.ndarray:
    """Returns a grey face in 0..1: a sample, or the upper half of one blended with the lower half of another."""
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
    """Returns a distractor: a non-face sample, a crop of a backdrop, or a distorted face."""
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
    """Returns a face's Fourier amplitudes with random phases: its texture without the face."""
    spectrum = np.fft.rfft2(face_2525 - face_2525.mean())
    turned_2525 = np.fft.irfft2(np.abs(spectrum) * np.exp(2j * np.pi * rng.random(spectrum.shape)), (PATCH, PATCH))
    # Brighter in the middle, like many faces.
    hill_P = np.hanning(PATCH)
    return turned_2525 + face_2525.mean() + rng.uniform(0, 0.5) * hill_P[:, None] * hill_P[None, :]


def _shuffled(rng: np.random.Generator, face_2525: np.ndarray) -> np.ndarray:
    """Returns a face cut into 25 tiles in random order."""
    tiles = face_2525.reshape(5, 5, 5, 5).transpose(0, 2, 1, 3).reshape(25, 5, 5)[rng.permutation(25)]
    return tiles.reshape(5, 5, 5, 5).transpose(0, 2, 1, 3).reshape(PATCH, PATCH)


def make_figure(
    rng: np.random.Generator, patch_2525: np.ndarray, backdrops: Backdrops, height: float, behind: Image.Image
) -> Figure:
    """Adds hair and clothes to a patch and resizes it so that its face box is `height` pixels high.

    `behind` is the scene: its mean colour shows through the figure's soft edges.
    """
    final = height / (FACE_BOX[3] - FACE_BOX[1])
    # Small figures are drawn larger and reduced, like in a camera; very large ones smaller and enlarged, for speed.
    scale = min(max(final, 1.0), 4.0)
    skin = _coloured(rng, _enlarged(rng, patch_2525, scale))
    canvas = _Canvas(rng, backdrops, scale, mean_colour(behind))
    canvas.skin = mean_colour(skin)
    if rng.random() < 0.65:
        canvas.add_body()
    if rng.random() < 0.7:
        canvas.add_hair()
    canvas.add_patch(skin)
    if rng.random() < 0.35:
        canvas.add_fringe()
    return canvas.finish(final)


def mean_colour(image: Image.Image) -> tuple[int, int, int]:
    """Returns the mean of an RGB image's pixels."""
    red, green, blue = image.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))  # type: ignore[misc]
    return int(red), int(green), int(blue)


def _enlarged(rng: np.random.Generator, patch_2525: np.ndarray, scale: float) -> Image.Image:
    """Returns a grey patch at `scale` times its size, with random lighting and added fine detail."""
    spread = max(float(patch_2525.std()), 0.02)
    patch_2525 = (patch_2525 - patch_2525.mean()) / spread * rng.uniform(0.09, 0.2) + rng.uniform(0.3, 0.72)
    slope = rng.normal(0, 0.2, 2)
    across_P = np.linspace(-1, 1, PATCH)
    patch_2525 = patch_2525 * (1 + slope[0] * across_P[None, :] + slope[1] * across_P[:, None])
    side = round(PATCH * scale)
    grey = Image.fromarray(patch_2525.astype(np.float32)).resize((side, side), Image.Resampling.LANCZOS)
    if scale <= 1.5:
        return as_image(np.asarray(grey))
    # Enlarging blurs, and blur must not identify a face: edges are sharpened and grain is added.
    crisp = as_image(np.asarray(grey)).filter(
        ImageFilter.UnsharpMask(scale * rng.uniform(0.4, 0.9), int(rng.uniform(0, 130)), 0)
    )
    grain_SS = np.zeros((side, side), np.float32)
    for size in (1, 3):
        coarse = Image.fromarray(rng.standard_normal((side // size + 1, side // size + 1), np.float32))
        grain_SS += rng.uniform(0, 0.03) * np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))
    return as_image(np.asarray(crisp, np.float32) / 255 * (1 + grain_SS))


def _coloured(rng: np.random.Generator, grey: Image.Image) -> Image.Image:
    # A tone curve for each channel, with red brightest and blue darkest, like skin.
    if rng.random() < 0.15:
        return grey.convert("RGB")
    powers = rng.uniform(0.55, 0.95), rng.uniform(0.9, 1.1), rng.uniform(1.05, 1.6)
    levels_256 = np.arange(256) / 255
    curves = [(levels_256**power * 255 + 0.5).astype(np.uint8) for power in powers]
    return Image.merge("RGB", [grey.point(list(curve)) for curve in curves])


class _Canvas:
    """A figure that is painted layer by layer: its image, and the mask of the painted pixels.

    Its methods take lengths in pixels of the 25 x 25 images; each is `scale` pixels here.
    """

    def __init__(
        self, rng: np.random.Generator, backdrops: Backdrops, scale: float, ground: tuple[int, int, int]
    ) -> None:
        self.rng, self.backdrops, self.scale = rng, backdrops, scale
        self.image = Image.new("RGB", (round(WIDTH * scale), round(HEIGHT * scale)), ground)
        self.mask = Image.new("L", self.image.size, 0)
        self.middle = LEFT + (FACE_BOX[0] + FACE_BOX[2]) / 2
        self.skin = ground

    def add_body(self) -> None:
        """Adds a neck in a shade of the skin, and shoulders in cloth."""
        middle, shade = self.middle + self.rng.normal(0, 1.5), self.rng.uniform(0.6, 1.0)
        neck = self._oval((middle, TOP + 24), (self.rng.uniform(5, 8), self.rng.uniform(8, 12)), 0.5)
        width, height = self.rng.uniform(19, 26), self.rng.uniform(16, 26)
        body = self._oval((middle, TOP + PATCH + self.rng.uniform(1, 7) + height), (width, height), 0.5)
        shaded = tuple(int(channel * shade) for channel in self.skin)
        self._lay(Image.new("RGB", self.image.size, shaded), neck)
        self._lay(self._cloth(self._dye(dark=0.5)), body)

    def add_hair(self) -> None:
        """Adds short or long hair behind the face."""
        across, down = self.rng.uniform(9.5, 16), self.rng.uniform(13, 19)
        middle = self.middle + self.rng.normal(0, 1), TOP + 12 - self.rng.uniform(1, 7) + max(0.0, down - 16)
        shape = self._oval(middle, (across, down), self.rng.uniform(0.3, 1.0))
        self._lay(self._cloth(self._hair_colour()), shape)

    def add_patch(self, skin: Image.Image) -> None:
        """Adds the patch with soft edges: only its oval, or nearly the whole patch."""
        corner, soft = (round(LEFT * self.scale), round(TOP * self.scale)), self.rng.uniform(0.5, 1.4)
        if self.rng.random() < 0.55:
            middle = self.middle + self.rng.normal(0, 0.4), TOP + 12.2 + self.rng.normal(0, 0.4)
            shape = self._oval(middle, (self.rng.uniform(8.8, 10.5), self.rng.uniform(11.6, 13.5)), soft)
        else:
            inset = 1.2 * soft
            edges = LEFT + inset, TOP + inset * 0.6, LEFT + PATCH - inset, TOP + PATCH - inset * 0.6
            shape = Image.new("L", self.mask.size, 0)
            draw = ImageDraw.Draw(shape)
            draw.rounded_rectangle([edge * self.scale for edge in edges], radius=7 * self.scale, fill=255)
            shape = shape.filter(ImageFilter.GaussianBlur(soft * self.scale))
        inside = Image.new("L", self.mask.size, 0)
        inside.paste(255, (*corner, corner[0] + skin.width, corner[1] + skin.height))
        filling = self.image.copy()
        filling.paste(skin, corner)
        self._lay(filling, ImageChops.darker(shape, inside))

    def add_fringe(self) -> None:
        """Adds a fringe or a hat over the forehead."""
        across, down = self.rng.uniform(9, 13), self.rng.uniform(4, 8)
        middle = self.middle + self.rng.normal(0, 1.5), TOP + self.rng.uniform(2, 5.5) - down
        shape = self._oval(middle, (across, down), self.rng.uniform(0.2, 0.7))
        self._lay(self._cloth(self._hair_colour()), shape)

    def finish(self, final: float) -> Figure:
        """Rotates and stretches the figure a little, resizes it from `scale` to `final`, and computes the face box."""
        angle = np.radians(np.clip(self.rng.normal(0, 9), -25, 25))
        stretch = float(np.exp(self.rng.normal(0, 0.06)))
        size = max(8, round(WIDTH * final * stretch)), max(8, round(HEIGHT * final))
        turn_22 = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        image, mask = (
            _turn(layer, turn_22).resize(size, Image.Resampling.BICUBIC) for layer in (self.image, self.mask)
        )
        face_22 = np.array(FACE_BOX).reshape(2, 2) + np.array([LEFT, TOP])
        centre_2 = np.array([WIDTH, HEIGHT]) / 2
        middle_2 = turn_22 @ (face_22.mean(axis=0) - centre_2) + centre_2
        # The bounding box of a rotated ellipse.
        reach_2 = np.sqrt((turn_22**2) @ ((face_22[1] - face_22[0]) / 2) ** 2)
        zoom_2 = np.array(size) / (WIDTH, HEIGHT)
        return Figure(image, mask, np.concatenate([(middle_2 - reach_2) * zoom_2, (middle_2 + reach_2) * zoom_2]))

    def _oval(self, middle: tuple[float, float], radii: tuple[float, float], soft: float) -> Image.Image:
        shape = Image.new("L", self.mask.size, 0)
        (x, y), (across, down) = middle, radii
        edges = (x - across, y - down, x + across, y + down)
        ImageDraw.Draw(shape).ellipse([edge * self.scale for edge in edges], fill=255)
        return shape.filter(ImageFilter.GaussianBlur(soft * self.scale))

    def _dye(self, dark: float) -> np.ndarray:
        """Returns a colour, RGB in 0..1: dark with probability `dark`, rarely saturated."""
        level = self.rng.uniform(0.02, 0.5) if self.rng.random() < dark else self.rng.uniform(0.2, 1.0)
        return level * (1 + self.rng.normal(0, 0.1 if self.rng.random() < 0.6 else 0.4, 3))

    def _hair_colour(self) -> np.ndarray:
        # Hair in the colour of the skin: the network has to learn where the face ends from the face.
        if self.rng.random() < 0.45:
            return np.array(self.skin) / 255 * self.rng.uniform(0.55, 1.15) * (1 + self.rng.normal(0, 0.06, 3))
        return self._dye(dark=0.75)

    def _cloth(self, colour_3: np.ndarray) -> Image.Image:
        """Returns cloth or hair: a colour with the texture of a random backdrop."""
        half = max(self.mask.width // 2, 1), max(self.mask.height // 2, 1)
        pattern_HW = np.asarray(self.backdrops.crop(self.rng, half).convert("L"), np.float32) / 255
        pixels_HW3 = colour_3 + (pattern_HW - pattern_HW.mean())[..., None] * self.rng.uniform(0, 0.7)
        return as_image(pixels_HW3).resize(self.mask.size, Image.Resampling.BILINEAR)

    def _lay(self, filling: Image.Image, shape: Image.Image) -> None:
        self.image.paste(filling, (0, 0), shape)
        self.mask = ImageChops.lighter(self.mask, shape)


def _turn(layer: Image.Image, turn_22: np.ndarray) -> Image.Image:
    back_22, middle_2 = turn_22.T, np.array(layer.size) / 2
    shift_2 = middle_2 - back_22 @ middle_2
    coefficients = (*back_22[0], shift_2[0], *back_22[1], shift_2[1])
    return layer.transform(layer.size, Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
