"""Size and orientation of an image from its file header, without decoding it."""

from __future__ import annotations

from PIL import Image, UnidentifiedImageError

from mlcycle.datasets.member import ImagePath, for_pillow
from mlcycle.errors import DataError

ORIENTATION = 0x0112
SIDEWAYS = (5, 6, 7, 8)


def orientation(image: Image.Image) -> int:
    """Returns the EXIF orientation, 1 (as stored) to 8; 1 also when it is missing or invalid."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # A broken EXIF block does not make an image unusable; Pillow raises a dozen kinds here.
        return 1
    return value if value in range(1, 9) else 1


def upright_size(path: ImagePath) -> tuple[int, int]:
    """Returns width, height in pixels of the upright image, from the file's header alone.

    Raises:
        DataError: the file is missing or not an image.
    """
    try:
        with Image.open(for_pillow(path)) as image:
            width, height = image.size
            # Pillow applies the orientation of TIFFs itself, and reports their upright size.
            is_sideways = orientation(image) in SIDEWAYS and image.format != "TIFF"
            return (height, width) if is_sideways else (width, height)
    except FileNotFoundError:
        raise DataError(f"no such image: {path}", "fetch it again, or remove its labels") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as problem:
        # Pillow names its argument, which for a member of a shard is a stream without a name.
        why = "" if isinstance(problem, UnidentifiedImageError) else f": {problem}"
        raise DataError(f"{path} is not a readable image{why}", "fetch it again, or remove it") from None
