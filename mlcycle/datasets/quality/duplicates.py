"""Which images are the same: by their bytes, and by how they look."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.datasets.quality.image_file import THUMBNAIL, ImageFile, inspect_files
from mlcycle.datasets.quality.perceptual_hash import near_duplicates


def look_at(
    images: Sequence[LabelledImage], advance: Callable[[int], None], processes: int | None = None
) -> list[ImageFile]:
    """Decodes every image; `advance` is called with 1 after each."""
    files = []
    for file in inspect_files([each.path for each in images], processes):
        files.append(file)
        advance(1)
    return files


def same_bytes(files: Sequence[ImageFile]) -> list[list[int]]:
    """Returns the numbers of the files, those with the same bytes together; a file that is missing is alone."""
    groups = defaultdict(list)
    for index, file in enumerate(files):
        groups[file.sha256 or f"missing {index}"].append(index)
    return list(groups.values())


def look_alike(files: Sequence[ImageFile], shown: Sequence[int]) -> list[tuple[int, int]]:
    """Returns pairs of near duplicates, by their numbers, among the files with the numbers `shown`."""
    whole = [index for index in shown if not files[index].problem]
    thumbnails = [files[index].thumbnail_SS for index in whole]
    thumbnails_NSS = np.array(thumbnails, np.uint8).reshape(len(whole), THUMBNAIL, THUMBNAIL)
    return [(whole[first], whole[second]) for first, second in near_duplicates(thumbnails_NSS).tolist()]
