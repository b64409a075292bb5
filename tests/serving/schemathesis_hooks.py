"""Gives schemathesis images to send: of random bytes alone, none would be one, and no result would be checked."""

from __future__ import annotations

import io

import schemathesis
from hypothesis import strategies
from PIL import Image
from skimage import data


def _encoded(image: Image.Image, format: str) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format)
    return stream.getvalue()


_FACE = Image.fromarray(data.astronaut()).crop((100, 0, 356, 256))
_IMAGES = [_encoded(image, format) for image in (_FACE, Image.new("L", (40, 3))) for format in ("JPEG", "PNG", "GIF")]

whole = strategies.sampled_from(_IMAGES)
truncated = strategies.builds(lambda each, size: each[:size], whole, strategies.integers(0, 20_000))
changed = strategies.builds(
    lambda each, at, byte: each[:at] + bytes([byte]) + each[at + 1 :],
    whole,
    strategies.integers(0, 20_000),
    strategies.integers(0, 255),
)
schemathesis.openapi.media_type(
    "application/octet-stream", strategies.one_of(whole, truncated, changed, strategies.binary(min_size=1))
)
