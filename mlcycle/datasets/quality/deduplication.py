"""Finds the duplicates and near duplicates of a set, and decides which to keep."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.datasets.quality import duplicates
from mlcycle.datasets.quality.image_file import ImageFile

SAME_BYTES, NEAR_DUPLICATE = "has the same bytes", "is a near duplicate"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A duplicate: its number, the reason, and the number of the image that is kept instead.

    Numbers count the images of the set first, then those of the set that it is compared with.
    """

    image: int
    why: str
    kept: int


def find_duplicates(
    images: Sequence[LabelledImage],
    against: Sequence[LabelledImage] = (),
    *,
    advance: Callable[[int], None] = lambda n: None,
    processes: int | None = None,
) -> list[LeftOut]:
    """Returns the images to leave out, so that no duplicates remain.

    Of several duplicates the one with the most labelled faces is kept, of these the one with the most pixels, then the
    first. An image is left out only as a duplicate of one that is kept: being a near duplicate is not transitive.

    Args:
        against: another set to compare with; all of its images are kept.
        advance: called with 1 after each image of both sets.
        processes: number of processes; None takes one for each core.
    """
    both = [*images, *against]
    files = duplicates.inspect_images(both, advance, processes)
    order = sorted(range(len(both)), key=lambda index: _preference(index, both, files, len(images)))
    rank = {index: place for place, index in enumerate(order)}
    left_out, kept = [], []
    for group in duplicates.group_by_bytes(files):
        first, *others = sorted(group, key=rank.__getitem__)
        kept.append(first)
        left_out += [LeftOut(each, SAME_BYTES, first) for each in others if each < len(images)]
    near = defaultdict(list)
    for one, other in duplicates.near_duplicate_pairs(files, kept):
        near[one].append(other)
        near[other].append(one)
    final_kept: set[int] = set()
    replaced = {}
    for index in sorted(kept, key=rank.__getitem__):
        better = min((each for each in near[index] if each in final_kept), key=rank.__getitem__, default=None)
        if better is None or index >= len(images):
            final_kept.add(index)
        else:
            replaced[index] = better
            left_out.append(LeftOut(index, NEAR_DUPLICATE, better))
    # An image kept among its exact copies may be left out as a near duplicate: its copies then name its replacement.
    final = [
        LeftOut(each.image, NEAR_DUPLICATE, replaced[each.kept]) if each.kept in replaced else each for each in left_out
    ]
    return sorted(final, key=lambda each: (rank[each.kept], each.image))


def _preference(
    index: int, both: Sequence[LabelledImage], files: Sequence[ImageFile], own: int
) -> tuple[bool, bool, int, int, int]:
    """Returns a sort key: the image to keep comes first."""
    faces = int((~both[index].ignore_N).sum())
    width, height = files[index].size
    return index < own, bool(files[index].problem), -faces, -width * height, index
