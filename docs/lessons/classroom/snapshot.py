"""A photo as a phone writes it, with metadata, and what redaction leaves uncovered, for lesson 5."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import marimo as mo
import numpy as np
from PIL import ExifTags, Image

import mlcycle
from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.evaluation.matching import overlaps

# The National Museum of American History in Washington: degrees, minutes, seconds.
NORTH, WEST = (38.0, 53.0, 28.0), (77.0, 1.0, 48.0)


def with_metadata(image: Path, copy: Path) -> Path:
    """Writes an image as a phone does: a JPEG with maker, time and place."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = "Nobody", "Phone 7"
    exif[ExifTags.Base.DateTime] = "2026:06:01 09:41:00"
    place = exif.get_ifd(ExifTags.IFD.GPSInfo)
    place[ExifTags.GPS.GPSLatitudeRef], place[ExifTags.GPS.GPSLatitude] = "N", NORTH
    place[ExifTags.GPS.GPSLongitudeRef], place[ExifTags.GPS.GPSLongitude] = "W", WEST
    with Image.open(image) as file:
        file.convert("RGB").save(copy, quality=92, exif=exif)
    return copy


def metadata(image: Path) -> mo.Html:
    """Shows the metadata in an image file."""
    with Image.open(image) as file:
        exif = file.getexif()
    place = exif.get_ifd(ExifTags.IFD.GPSInfo)
    found = {ExifTags.TAGS.get(tag, tag): value for tag, value in exif.items() if tag != ExifTags.IFD.GPSInfo}
    found |= {ExifTags.GPSTAGS.get(tag, tag): value for tag, value in place.items()}
    lines = [f"{name}: {value}" for name, value in found.items()]
    return mo.plain_text(f"{image.name}\n" + "\n".join(lines or ["no metadata"]))


@dataclass(frozen=True)
class Uncovered:
    """Of so many `faces`, those that a redaction would leave uncovered, and regions that it would cover needlessly."""

    faces: int
    missed: int
    needless: int


def uncovered(model: mlcycle.Model, images: Sequence[LabelledImage], at: str) -> Uncovered:
    """Counts what a model finds in labelled images at an operating point; a face counts as found at an IoU of 0.3."""
    faces = missed = needless = 0
    for image, found in zip(images, model.stream([str(each.path) for each in images], at=at), strict=True):
        truth_N4 = image.boxes_N4
        iou_MN = (
            overlaps(found.boxes, truth_N4, np.zeros(len(truth_N4), bool))
            if len(truth_N4)
            else np.zeros((len(found), 1))
        )
        faces += len(truth_N4)
        missed += int((iou_MN.max(axis=0, initial=0) < 0.3).sum()) if len(truth_N4) else 0
        needless += int((iou_MN.max(axis=1, initial=0) < 0.3).sum())
    return Uncovered(faces, missed, needless)
