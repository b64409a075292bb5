"""The image formats that the installed Pillow decodes, and its libraries."""

from __future__ import annotations

from dataclasses import dataclass

# Format → Pillow's name for its decoder. The other formats that mlcycle reads are always available.
DECODERS = {"JPEG": "jpg", "JPEG 2000": "jpg_2000", "WebP": "webp", "AVIF": "avif", "TIFF": "libtiff"}


@dataclass(frozen=True, slots=True)
class ImageFormats:
    """The libraries of Pillow.

    Attributes:
        problem: why Pillow cannot be imported, or "".
        turbo: the version of libjpeg-turbo, None if another library decodes JPEGs.
        decoders: format → version of its library, "" if unknown, None if the format is not supported.
    """

    problem: str
    turbo: str | None
    decoders: dict[str, str | None]


def inspect() -> ImageFormats:
    """Returns the libraries of the installed Pillow."""
    try:
        from PIL import features
    except Exception as problem:  # a library of Pillow that does not load raises ImportError, or another error
        return ImageFormats(f"{type(problem).__name__}: {problem}", None, dict.fromkeys(DECODERS))
    known = set(features.get_supported())
    decoders = {name: (features.version(each) or "") if each in known else None for name, each in DECODERS.items()}
    turbo = (features.version("libjpeg_turbo") or "") if "libjpeg_turbo" in known else None
    return ImageFormats("", turbo, decoders)
