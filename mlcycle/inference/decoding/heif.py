"""HEIC and HEIF, which Pillow does not read: recognised by their brands and opened with the extra `heif`."""

from __future__ import annotations

import io

from PIL import ImageFile

from mlcycle.errors import UnreadableError

_BRANDS = frozenset(b"heic heix heim heis hevc hevx hevm hevs mif1 msf1".split())


def is_heif(data: bytes) -> bool:
    """Returns whether bytes are HEIF by their brands, and not AVIF, which Pillow reads, or video."""
    if data[4:8] != b"ftyp":
        return False
    end = min(int.from_bytes(data[:4]), 1024)
    brands = {data[8:12], *(data[offset : offset + 4] for offset in range(16, end, 4))}
    return bool(brands & _BRANDS) and not brands & {b"avif", b"avis"}


def open_heif(data: bytes) -> ImageFile.ImageFile:
    """Returns the primary image, not yet decoded, at its display size.

    libheif applies the container's own rotation while decoding, so the image needs no further rotation.

    Raises:
        UnreadableError: unsupported, the package is not installed; the message names the extra.
        Exception: the file is damaged.
    """
    try:
        from pillow_heif import HeifImageFile
    except ModuleNotFoundError:
        message = "HEIC and HEIF need the extra heif, which is not installed; see mlcycle doctor"
        raise UnreadableError("unsupported", message) from None
    image: ImageFile.ImageFile = HeifImageFile(io.BytesIO(data))
    return image
