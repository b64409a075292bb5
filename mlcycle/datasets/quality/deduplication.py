"""Which images of a set are there more than once, and which of them to keep."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.datasets.quality import duplicates
from mlcycle.datasets.quality.image_file import ImageFile

SAME_BYTES, LOOKS_THE_SAME = "has the same bytes", "looks the same"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An image that is there already: its number, why, and the number of the one that is kept.

    Numbers count through the set and then through the other one that it is held against.
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
    """Returns the images to leave out, by number, so that none is left that is the same as another.

    Of those that are the same, the one with the most labelled faces is kept, of these the one with the most pixels,
    then the first; but all of another set that is held against. One is left out only if it is the same as one that is
    kept: being alike is not passed on.

    Args:
        against: another set, which keeps all it has.
        advance: called with 1 after each image of both.
    """
    both = [*images, *against]
    files = duplicates.look_at(both, advance, processes)
    order = sorted(range(len(both)), key=lambda index: _worth(index, both, files, len(images)))
    rank = {index: place for place, index in enumerate(order)}
    left_out, kept = [], []
    for group in duplicates.same_bytes(files):
        first, *others = sorted(group, key=rank.__getitem__)
        kept.append(first)
        left_out += [LeftOut(each, SAME_BYTES, first) for each in others if each < len(images)]
    near = defaultdict(list)
    for one, other in duplicates.look_alike(files, kept):
        near[one].append(other)
        near[other].append(one)
    staying: set[int] = set()
    replaced = {}
    for index in sorted(kept, key=rank.__getitem__):
        better = min((each for each in near[index] if each in staying), key=rank.__getitem__, default=None)
        if better is None or index >= len(images):
            staying.add(index)
        else:
            replaced[index] = better
            left_out.append(LeftOut(index, LOOKS_THE_SAME, better))
    # What was kept for its bytes may have gone since: then its copies name what is kept in its place.
    final = [
        LeftOut(each.image, LOOKS_THE_SAME, replaced[each.kept]) if each.kept in replaced else each for each in left_out
    ]
    return sorted(final, key=lambda each: (rank[each.kept], each.image))


def _worth(
    index: int, both: Sequence[LabelledImage], files: Sequence[ImageFile], own: int
) -> tuple[bool, bool, int, int, int]:
    """Sorts first what is to be kept."""
    faces = int((~both[index].ignore_N).sum())
    width, height = files[index].size
    return index < own, bool(files[index].problem), -faces, -width * height, index
