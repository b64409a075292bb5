"""HEIC and HEIF, which Pillow does not read: told by their brands, and opened by the extra `heif`."""

from __future__ import annotations

import io

from PIL import ImageFile

from mlcycle.errors import UnreadableError

_BRANDS = frozenset(b"heic heix heim heis hevc hevx hevm hevs mif1 msf1".split())


def is_heif(data: bytes) -> bool:
    """Tells HEIF by the brands at its begin from AVIF, which Pillow reads itself, and from video."""
    if data[4:8] != b"ftyp":
        return False
    end = min(int.from_bytes(data[:4]), 1024)
    brands = {data[8:12], *(data[place : place + 4] for place in range(16, end, 4))}
    return bool(brands & _BRANDS) and not brands & {b"avif", b"avis"}


def opened(data: bytes) -> ImageFile.ImageFile:
    """Returns the primary image, not yet decoded, at the size that it is to be shown in.

    libheif turns it by the container's own marks while it decodes, so nothing is left to be turned.

    Raises:
        UnreadableError: unsupported, the package is not installed; the sentence says how to install it.
        Exception: it is broken.
    """
    try:
        from pillow_heif import HeifImageFile
    except ModuleNotFoundError:
        message = "HEIC and HEIF need a package that is not installed: pip install 'mlcycle[heif]'"
        raise UnreadableError("unsupported", message) from None
    image: ImageFile.ImageFile = HeifImageFile(io.BytesIO(data))
    return image
