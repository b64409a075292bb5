"""Splits a set into parts by shares, with duplicates in the same part."""

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
        UsageError: the text has another form, a share is not above 0, or they do not add up to 1.
    """
    try:
        pairs = [part.split("=") for part in text.split(",")]
        shares = {name.strip(): float(share) for name, share in pairs}
    except ValueError:
        raise UsageError(f"--shares {text} cannot be read", "write it as train=0.9,val=0.1") from None
    possible = all(0 < share <= 1 for share in shares.values()) and abs(sum(shares.values()) - 1) < 1e-6
    if not possible or len(shares) < max(2, len(pairs)) or not all(name.isidentifier() for name in shares):
        raise UsageError(f"--shares {text} cannot split a set", "pass two or more splits whose shares add up to 1")
    return shares


def split_set(
    images: Sequence[LabelledImage],
    shares: Mapping[str, float],
    *,
    by_group: bool = False,
    seed: int = 0,
    advance: Callable[[int], None] = lambda n: None,
    processes: int | None = None,
) -> dict[str, list[LabelledImage]]:
    """Returns the parts; duplicates and near duplicates, and with `by_group` all images of a group, share a part.

    Such units of images are ordered by a hash of their name (with `by_group` their group's) and `seed`, and fill one
    part after the other. The shares are therefore met as closely as the sizes of the units allow, and if images are
    added to the set, only those near the ends of the parts change parts.

    Raises:
        DataError: the set has no groups, or a part would be empty.
    """
    if by_group and not any(each.group for each in images):
        raise DataError("this set has no groups", "split it with --by name")
    files = duplicates.inspect_images(images, advance, processes)
    identical = duplicates.group_by_bytes(files)
    links = [*identical, *duplicates.near_duplicate_pairs(files, [group[0] for group in identical])]
    if by_group:
        groups = defaultdict(list)
        for index, each in enumerate(images):
            groups[each.group or f"\0{index}"].append(index)
        links += groups.values()
    parts: dict[str, list[LabelledImage]] = {name: [] for name in shares}
    remaining = {name: share * len(images) for name, share in shares.items()}
    keys = [each.group if by_group and each.group else each.name for each in images]
    for unit in sorted(_connected_units(len(images), links), key=lambda unit: _sort_key(keys[unit[0]], seed)):
        open_parts = (name for name in shares if remaining[name] >= len(unit) / 2)
        chosen = next(open_parts, max(remaining, key=remaining.__getitem__))
        remaining[chosen] -= len(unit)
        parts[chosen] += [images[index] for index in unit]
    empty = [name for name, part in parts.items() if not part]
    if empty:
        raise DataError(
            f"no image is left for {empty[0]}: the duplicates and groups are too large",
            "give it a larger share, or split by name",
        )
    return {name: sorted(part, key=lambda each: each.name) for name, part in parts.items()}


def _connected_units(count: int, links: Iterable[Sequence[int]]) -> list[list[int]]:
    """Returns the connected components of the numbers below `count`: each number once."""
    parent = list(range(count))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for first, *others in links:
        for other in others:
            one, two = sorted((root(first), root(other)))
            parent[two] = one
    units = defaultdict(list)
    for index in range(count):
        units[root(index)].append(index)
    return list(units.values())


def _sort_key(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogateescape")).digest()
