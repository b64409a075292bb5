"""Divides a set into parts by shares, with what is the same on the same side."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.datasets.quality import duplicates
from mlcycle.errors import DataError, UsageError


def parse_shares(text: str) -> dict[str, float]:
    """Reads "train=0.9,val=0.1".

    Raises:
        UsageError: it reads otherwise, a share is not above 0, or they do not add up to 1.
    """
    try:
        pairs = [part.split("=") for part in text.split(",")]
        shares = {name.strip(): float(share) for name, share in pairs}
    except ValueError:
        raise UsageError(f"--shares {text} cannot be read", "write it as train=0.9,val=0.1") from None
    possible = all(0 < share <= 1 for share in shares.values()) and abs(sum(shares.values()) - 1) < 1e-6
    if not possible or len(shares) < max(2, len(pairs)) or not all(name.isidentifier() for name in shares):
        raise UsageError(f"--shares {text} does not divide a set", "name two parts or more, whose shares add up to 1")
    return shares


def divide(
    images: Sequence[LabelledImage],
    shares: Mapping[str, float],
    *,
    by_group: bool = False,
    seed: int = 0,
    advance: Callable[[int], None] = lambda n: None,
    processes: int | None = None,
) -> dict[str, list[LabelledImage]]:
    """Returns the parts; duplicates and near duplicates, and with `by_group` all of a group, are in one of them.

    What belongs together comes in an order drawn from names (with `by_group` of groups) and `seed`. One part after the
    other is filled, so the shares are met as nearly as the sizes of what belongs together allow, and where images
    are added, only those near the ends of the parts change sides.

    Raises:
        DataError: there are no groups, or a part would be empty.
    """
    if by_group and not any(each.group for each in images):
        raise DataError("this set has no groups", "divide it by name")
    files = duplicates.look_at(images, advance, processes)
    bytes_alike = duplicates.same_bytes(files)
    bonds = [*bytes_alike, *duplicates.look_alike(files, [group[0] for group in bytes_alike])]
    if by_group:
        groups = defaultdict(list)
        for index, each in enumerate(images):
            groups[each.group or f"\0{index}"].append(index)
        bonds += groups.values()
    parts: dict[str, list[LabelledImage]] = {name: [] for name in shares}
    room = {name: share * len(images) for name, share in shares.items()}
    drawn = [each.group if by_group and each.group else each.name for each in images]
    for unit in sorted(_together(len(images), bonds), key=lambda unit: _draw(drawn[unit[0]], seed)):
        roomy = (name for name in shares if room[name] >= len(unit) / 2)
        chosen = next(roomy, max(room, key=room.__getitem__))
        room[chosen] -= len(unit)
        parts[chosen] += [images[index] for index in unit]
    empty = [name for name, part in parts.items() if not part]
    if empty:
        raise DataError(
            f"no image is left for {empty[0]}: too many belong together",
            "give it a larger share, or divide by name",
        )
    return {name: sorted(part, key=lambda each: each.name) for name, part in parts.items()}


def _together(many: int, bonds: Iterable[Sequence[int]]) -> list[list[int]]:
    """Returns what is bound together, directly or through others: each number once."""
    parent = list(range(many))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for first, *others in bonds:
        for other in others:
            one, two = sorted((root(first), root(other)))
            parent[two] = one
    units = defaultdict(list)
    for index in range(many):
        units[root(index)].append(index)
    return list(units.values())


def _draw(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogateescape")).digest()
