"""The image formats that the installed Pillow decodes, its libraries, and what resizes."""

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
        resize: "compiled", or "pillow" if mlcycle was installed without a C compiler.
    """

    problem: str
    turbo: str | None
    decoders: dict[str, str | None]
    resize: str


def inspect() -> ImageFormats:
    """Returns the libraries of the installed Pillow."""
    try:
        from PIL import features

        from mlcycle.inference import compiled
    except Exception as problem:  # a library of Pillow that does not load raises ImportError, or another error
        return ImageFormats(f"{type(problem).__name__}: {problem}", None, dict.fromkeys(DECODERS), "")
    known = set(features.get_supported())
    decoders = {name: (features.version(each) or "") if each in known else None for name, each in DECODERS.items()}
    turbo = (features.version("libjpeg_turbo") or "") if "libjpeg_turbo" in known else None
    return ImageFormats("", turbo, decoders, "compiled" if compiled.library() else "pillow")
