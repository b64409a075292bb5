"""Exact duplicates by sha256, and near duplicates by perceptual hash."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.datasets.quality.image_file import THUMBNAIL, ImageFile, inspect_files
from mlcycle.datasets.quality.perceptual_hash import near_duplicates


def inspect_images(
    images: Sequence[LabelledImage], advance: Callable[[int], None], processes: int | None = None
) -> list[ImageFile]:
    """Decodes every image; `advance` is called with 1 after each."""
    files = []
    for file in inspect_files([each.path for each in images], processes):
        files.append(file)
        advance(1)
    return files


def group_by_bytes(files: Sequence[ImageFile]) -> list[list[int]]:
    """Groups the numbers of the files by their bytes; a missing file is a group of its own."""
    groups = defaultdict(list)
    for index, file in enumerate(files):
        groups[file.sha256 or f"missing {index}"].append(index)
    return list(groups.values())


def near_duplicate_pairs(files: Sequence[ImageFile], candidates: Sequence[int]) -> list[tuple[int, int]]:
    """Returns pairs of near duplicates, by their numbers, among the files with the numbers `candidates`."""
    readable = [index for index in candidates if not files[index].problem]
    thumbnails = [files[index].thumbnail_SS for index in readable]
    thumbnails_NSS = np.array(thumbnails, np.uint8).reshape(len(readable), THUMBNAIL, THUMBNAIL)
    return [(readable[first], readable[second]) for first, second in near_duplicates(thumbnails_NSS).tolist()]
