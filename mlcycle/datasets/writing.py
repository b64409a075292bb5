"""Conductor: writes labelled images as a set in any layout, to a folder that appears complete or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from mlcycle.datasets import image_header, new_folder, set_names
from mlcycle.datasets.formats import coco_writer, wider_writer, yolo_writer
from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.datasets.member import ImagePath, Member
from mlcycle.errors import DataError, UsageError

WRITERS: dict[str, ModuleType] = {"wider": wider_writer, "coco": coco_writer, "yolo": yolo_writer}


def write_set(
    parts: Mapping[str, Sequence[LabelledImage]],
    layout: str,
    target: Path,
    *,
    images: str = "link",
    info: Mapping[str, Any] | None = None,
    advance: Callable[[int], None] = lambda n: None,
) -> list[str]:
    """Writes a set and returns sentences about what the layout cannot hold.

    Boxes and points stay in pixels of the upright image. Image files are not changed: readers apply EXIF orientation.

    Args:
        parts: the images of each part; "" becomes train in layouts whose parts have names.
        layout: "wider", "coco" or "yolo".
        target: a folder that does not exist yet.
        images: "link" makes symbolic links, "copy" copies, "none" leaves them out.
        info: the "info" object of the file, for "coco" only.
        advance: called with 1 after each image.

    Raises:
        InputError: the folder already exists, or cannot be written.
        UsageError: links to images in shards were requested.
        DataError: an image is missing, a box is not finite, or a name is not possible in the layout.
    """
    must_be_possible(parts, layout, target, images)
    named, lost = set_names.fit(parts, layout)
    _must_be_numbers(named)
    sizes = {split: {each.name: _size(each, images) for each in part} for split, part in named.items()}
    writer = WRITERS[layout]
    with new_folder.staged(target) as folder:
        writer.write_labels(folder, named, sizes, **({"info": info} if info else {}))
        for split, labelled in named.items():
            for image in labelled:
                _put(image.path, folder / writer.place(split, image.name), images)
                advance(1)
    return [*_not_kept(named, layout), *lost]


def must_be_possible(parts: Mapping[str, Sequence[LabelledImage]], layout: str, target: Path, images: str) -> None:
    """Raises the errors of `write_set` that can be found without opening an image; it takes the same arguments."""
    new_folder.must_be_free(target)
    for part in parts:
        set_names.part_name(part, layout, len(parts) == 1)
    if images == "link" and any(isinstance(each.path, Member) for part in parts.values() for each in part):
        raise UsageError("a link to an image in a shard is not possible", "extract the images with --images copy")


def _size(image: LabelledImage, images: str) -> tuple[int, int]:
    try:
        return image_header.upright_size(image.path)
    except DataError:
        if images == "none" and image.size:
            return image.size
        raise


def _must_be_numbers(parts: Mapping[str, Sequence[LabelledImage]]) -> None:
    for images in parts.values():
        for each in images:
            if not np.isfinite(each.boxes_N4).all():
                raise DataError(f"{each.name} has a box that is not finite", "mlcycle data check lists all of them")


def _put(source: ImagePath, place: Path, images: str) -> None:
    if images == "none":
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(source, Member):
        place.write_bytes(source.read_bytes())
    elif images == "copy":
        shutil.copy2(source, place)
    else:
        place.symlink_to(os.path.realpath(source))  # an absolute path without other links


def _not_kept(parts: Mapping[str, Sequence[LabelledImage]], layout: str) -> list[str]:
    everything = [each for images in parts.values() for each in images]
    ignored = sum(int(each.ignore_N.sum()) for each in everything)
    sentences = []
    if layout == "yolo" and ignored:
        sentences.append(f"{ignored:,} boxes to be ignored are left out: YOLO cannot mark them")
    elsewhere = sum(bool(each.group) and each.group != each.name.rpartition("/")[0] for each in everything)
    if layout == "wider" and elsewhere:
        sentences.append(f"the groups of {elsewhere:,} images are left out: WIDER FACE's groups are folders")
    scores = sum(int(np.isfinite(each.scores_N).sum()) for each in everything if each.scores_N is not None)
    if layout != "coco" and scores:
        sentences.append(
            f"the scores of {scores:,} labels made by a model are left out: only COCO and shards store them"
        )
    flat = sum(
        int(((each.boxes_N4[:, 2:] <= each.boxes_N4[:, :2]).any(axis=1) & ~each.ignore_N).sum()) for each in everything
    )
    if layout == "wider" and flat:
        sentences.append(f"{flat:,} boxes without width or height become boxes to be ignored, as in WIDER FACE")
    if layout == "yolo" and any(each.group for each in everything):
        sentences.append("groups are left out, except where they are the images' folders")
    return sentences
