"""What review.html needs of one image: a small picture, the covered regions, and crops of the doubtful ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from PIL import Image

from mlcycle.inference.detect import upright_image
from mlcycle.inference.record import Record, Source, title
from mlcycle.redacting.decisions import Decision
from mlcycle.reporting.data_uri import data_uri

# Pixels of the long side of a picture, and of a crop.
PICTURE_SIDE, CROP_SIDE = 720, 96
PICTURE_QUALITY, CROP_QUALITY = 70, 75
# A crop shows the surroundings too: its side is this many times the longer side of the region's box.
CROP_SCALE = 2.2
# So many doubtful regions of an image have a crop.
MAX_CROPS = 24


@dataclass(frozen=True, slots=True)
class Reviewed:
    """An image to review: why it is shown, and what was decided on it."""

    source: Source
    record: Record
    kind: str
    decision: Decision


def card_of(image: Reviewed, digest: str, below: float, max_pixels: int) -> dict[str, Any]:
    """Returns an image for the page, as JSON.

    Args:
        digest: ties decisions to the image.
        below: regions that score less are doubtful.
        max_pixels: images with more pixels are not decoded.

    Raises:
        UnreadableError: it cannot be read any more.
    """
    record = image.record
    upright = upright_image(image.source, max_pixels)
    return {
        "input": record.input,
        "part": record.identity[1],
        "title": title(record.input, record.part),
        "digest": digest,
        "kind": image.kind,
        "width": record.width,
        "height": record.height,
        "picture": _uri(_picture(upright), PICTURE_QUALITY),
        "regions": _regions(record, upright, below),
        "decision": image.decision.as_dict(),
    }


def _regions(record: Record, upright: Image.Image, below: float) -> list[dict[str, Any]]:
    """Returns box, score and, of the first doubtful ones, a crop of each covered region."""
    regions: list[dict[str, Any]] = []
    crops = 0
    for face in record.faces():
        is_doubtful = face["score"] < below
        crop = is_doubtful and crops < MAX_CROPS
        crops += crop
        uri = _uri(_crop(upright, face["box"]), CROP_QUALITY) if crop else None
        regions.append({"box": face["box"], "score": round(face["score"], 3), "doubtful": is_doubtful, "crop": uri})
    return regions


def _picture(upright: Image.Image) -> Image.Image:
    picture = upright.copy()
    picture.thumbnail((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.BICUBIC, reducing_gap=2.0)
    return picture


def _crop(upright: Image.Image, box_4: list[float]) -> Image.Image:
    """Returns the surroundings of a box, as far as they are inside the image, with a long side of CROP_SIDE."""
    x1, y1, x2, y2 = box_4
    half = max(x2 - x1, y2 - y1) * CROP_SCALE / 2
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    left, top = max(0, round(x - half)), max(0, round(y - half))
    right, bottom = min(upright.width, round(x + half) + 1), min(upright.height, round(y + half) + 1)
    scale = CROP_SIDE / max(right - left, bottom - top)
    size = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    return upright.resize(size, Image.Resampling.BICUBIC, (left, top, right, bottom), reducing_gap=2.0)


def _uri(image: Image.Image, quality: int) -> str:
    """Returns an image as a JPEG in a data URI, without metadata."""
    image.info.clear()
    return data_uri(image, quality=quality)
