"""What Pillow was built with: which images it decodes, and with what."""

from __future__ import annotations

from dataclasses import dataclass

# The names of formats, and what Pillow calls what decodes them. The rest of what mlcycle reads is always there.
DECODERS = {"JPEG": "jpg", "JPEG 2000": "jpg_2000", "WebP": "webp", "AVIF": "avif", "TIFF": "libtiff"}


@dataclass(frozen=True, slots=True)
class ImageFormats:
    """What Pillow was built with.

    Attributes:
        problem: why Pillow cannot be imported, or "".
        turbo: the version of libjpeg-turbo, None where another library decodes JPEGs.
        decoders: the version of each format's library, "" if it does not say; None where the format is not read.
    """

    problem: str
    turbo: str | None
    decoders: dict[str, str | None]


def look() -> ImageFormats:
    """Asks Pillow what it was built with."""
    try:
        from PIL import features
    except Exception as problem:  # a library of Pillow's that does not load is an ImportError, and not only that
        return ImageFormats(f"{type(problem).__name__}: {problem}", None, dict.fromkeys(DECODERS))
    known = set(features.get_supported())
    decoders = {name: (features.version(each) or "") if each in known else None for name, each in DECODERS.items()}
    turbo = (features.version("libjpeg_turbo") or "") if "libjpeg_turbo" in known else None
    return ImageFormats("", turbo, decoders)
