"""Conductor of `mlcycle data pack`: labelled images → tar shards. Read it top to bottom.

The shards are made in a folder beside the target, which becomes the target at the end and which one process at a time
may hold. What a stopped packing left there is gone on with, shard by shard, if it was to become the very same set, and
is thrown away if not.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from mlcycle import files
from mlcycle.datasets import new_folder, set_names
from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.datasets.quality.image_file import ImageFile, inspect_file, inspect_files
from mlcycle.datasets.reading import fingerprint
from mlcycle.datasets.shards import packed_labels, shard_file
from mlcycle.datasets.shards.packed import FORMAT, INDEX, SCHEMA_VERSION, finished_shard
from mlcycle.datasets.shards.shard_file import Shard, ShardWriter
from mlcycle.errors import DataError, InputError

PLAN, LOCK = "plan.json", "lock"
# What a member's suffix may be; another name gets the one of its format.
SUFFIX = re.compile(r"\.[a-z0-9]{1,5}")

Parts = Mapping[str, Sequence[LabelledImage]]
Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Rule:
    """How to pack: bytes from which a shard is full, the seed of the order, and whether to leave out what is broken."""

    shard_bytes: int = 256 * 10**6
    seed: int = 0
    skip_unreadable: bool = False


@dataclass(slots=True)
class Packed:
    """What came of it.

    Attributes:
        shards: of each part.
        left_out: name of each image that cannot be read, and why.
        renamed: how many images were given another name, for theirs was taken.
        found: how many shards a stopped packing had left.
    """

    shards: dict[str, list[Shard]] = field(default_factory=dict)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    renamed: int = 0
    found: int = 0


def pack(parts: Parts, target: Path, rule: Rule, advance: Advance = lambda n: None) -> Packed:
    """Writes shards of a set, each a fair sample of its part: the order is drawn from names and the seed.

    Every image is decoded, and its bytes are written as they are. The same images, labels and rule give the
    same bytes.

    Args:
        parts: images of each part; "" for a set that is not divided.
        target: a folder that is not there yet.
        advance: called with the number of images done.

    Raises:
        InputError: the folder is there already, cannot be written, or is being packed by another process.
        DataError: an image is missing or broken, or a box is no number.
    """
    new_folder.must_be_free(target)
    _must_be_numbers(parts)
    named = {part: set_names.unique(some) for part, some in parts.items()}
    done, number = Packed(renamed=_differing(parts, named)), 0
    draft = target.parent / f".{target.name}{shard_file.PART}"
    with files.attributed(target, shard_file.ELSEWHERE):
        _must_be_ours(draft)
        with new_folder.held(draft, LOCK, target):
            _begin(draft, named, rule)
            for part, prefix in _prefixes(named, target.name).items():
                some = sorted(named[part], key=lambda each: _draw(each.name, rule.seed))
                done.shards[part] = _pack_part(_Place(draft, prefix, number), some, rule, done, advance)
                number += len(some)
            _finish(draft, target, done, rule)
    return done


def _must_be_numbers(parts: Parts) -> None:
    if not any(parts.values()):
        raise DataError("there is no image to pack", "is this the right set, and the right split?")
    for images in parts.values():
        for each in images:
            if not np.isfinite(each.boxes_N4).all():
                raise DataError(f"{each.name} has a box that is no number", "mlcycle data check names all of them")


def _differing(parts: Parts, named: Parts) -> int:
    return sum(
        before.name != after.name for part in parts for before, after in zip(parts[part], named[part], strict=True)
    )


def _must_be_ours(draft: Path) -> None:
    if not draft.exists() or not any(draft.iterdir()) or any((draft / each).is_file() for each in (LOCK, PLAN, INDEX)):
        return
    raise InputError(f"{draft} is in the way, and no packing left it", "remove it, or name another folder with --out")


def _begin(draft: Path, parts: Parts, rule: Rule) -> None:
    """Leaves in the folder what an earlier call of the same has finished, or nothing."""
    prints = {name: _print(some) for name, some in parts.items()}
    # Whether broken images may be left out is no part of the plan: a packing that one has stopped goes on.
    chosen = {"shard_bytes": rule.shard_bytes, "seed": rule.seed}
    plan = shard_file.written({"schema_version": SCHEMA_VERSION, "rule": chosen, "parts": prints}).encode()
    is_same = (draft / PLAN).is_file() and (draft / PLAN).read_bytes() == plan
    for left in draft.iterdir():
        if left.name != LOCK and (not is_same or left.name.endswith(shard_file.PART)):
            left.unlink()
    if not is_same:
        files.write(draft / PLAN, plan, hint=shard_file.ELSEWHERE)


def _print(images: Sequence[LabelledImage]) -> str:
    """Returns a digest of all that is written about images; their fingerprint leaves some of it out."""
    digest = hashlib.sha256(fingerprint(list(images)).encode())
    for each in sorted(images, key=lambda each: each.name):
        scores = None if each.scores_N is None else each.scores_N.tolist()
        digest.update(repr((each.group, each.size, each.scale, each.coco_ids, scores)).encode())
    return digest.hexdigest()


def _prefixes(parts: Parts, name: str) -> dict[str, str]:
    """What the shards of each part are called: as the part, or as the set if that is not divided."""
    plain = {part: re.sub(r"[^A-Za-z0-9_-]+", "-", part or name).strip("-") or "set" for part in parts}
    unique = len(set(plain.values())) == len(plain)
    return plain if unique else {part: f"{plain[part]}-{index}" for index, part in enumerate(plain)}


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the shards of a part go: folder, first part of their names, and the number of its first image."""

    folder: Path
    prefix: str
    first: int

    def name(self, shard: int) -> str:
        return f"{self.prefix}-{shard:06d}"


def _pack_part(
    place: _Place, images: Sequence[LabelledImage], rule: Rule, done: Packed, advance: Advance
) -> list[Shard]:
    shards, after = _earlier(place, images, rule, done)
    advance(after)
    writer: ShardWriter | None = None
    for index, data, suffix, labels in _readable(images, after, rule, done, advance):
        if writer is not None and writer.size + len(data) > rule.shard_bytes:
            shards.append(writer.finish())
            writer = None
        writer = writer or ShardWriter(place.folder, place.name(len(shards)))
        writer.add(f"{place.first + index:09d}", suffix, data, labels)
    if writer is not None:
        shards.append(writer.finish())
    if not shards:
        raise DataError("none of the images can be read", "run: mlcycle data check")
    return shards


def _earlier(place: _Place, images: Sequence[LabelledImage], rule: Rule, done: Packed) -> tuple[list[Shard], int]:
    """Returns the shards that an earlier call has finished, and the images that they account for."""
    shards: list[Shard] = []
    names: list[str] = []
    while (found := finished_shard(place.folder, place.name(len(shards)))) is not None:
        shards.append(found[0])
        names += found[1]
    done.found += len(shards)
    after = next((index + 1 for index in reversed(range(len(images))) if names and images[index].name == names[-1]), 0)
    packed = set(names)
    for each in images[:after]:
        if each.name not in packed:
            file = inspect_file(each.path)
            _must_be_skipped(each, file, rule)
            done.left_out.append((each.name, file.problem))
    return shards, after


def _readable(
    images: Sequence[LabelledImage], after: int, rule: Rule, done: Packed, advance: Advance
) -> Iterator[tuple[int, bytes, str, dict[str, object]]]:
    """Yields the number, bytes, suffix and labels of each image from `after` on that can be read."""
    rest = images[after:]
    for index, (image, file) in enumerate(zip(rest, inspect_files([each.path for each in rest]), strict=True), after):
        if file.problem:
            _must_be_skipped(image, file, rule)
            done.left_out.append((image.name, file.problem))
        else:
            data = image.path.read_bytes()
            if hashlib.sha256(data).hexdigest() != file.sha256:
                raise DataError(f"{image.path} was changed while it was packed", "run it again")
            yield index, data, _suffix(image, file), packed_labels.to_json(image, file.size)
        advance(1)


def _must_be_skipped(image: LabelledImage, file: ImageFile, rule: Rule) -> None:
    if not rule.skip_unreadable:
        raise DataError(
            f"the image {image.path} cannot be read: {file.problem}",
            "mend it, or leave out what cannot be read: --skip-unreadable",
        )


def _suffix(image: LabelledImage, file: ImageFile) -> str:
    suffix = PurePosixPath(image.name).suffix.lower()
    return suffix if SUFFIX.fullmatch(suffix) and suffix != ".json" else f".{file.format.lower()}"


def _finish(draft: Path, target: Path, done: Packed, rule: Rule) -> None:
    """Writes the index, which makes the folder a set, and puts it into its place."""
    parts = [
        {
            "name": part,
            "images": sum(each.images for each in shards),
            "shards": [asdict(each) for each in shards],
        }
        for part, shards in done.shards.items()
    ]
    left_out = [{"name": name, "why": why} for name, why in done.left_out]
    content = {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "seed": rule.seed,
        "parts": parts,
        "left_out": left_out,
    }
    files.write(draft / INDEX, f"{shard_file.written(content)}\n", hint=shard_file.ELSEWHERE)
    new_folder.must_be_free(target)
    draft.rename(target)
    for each in (PLAN, LOCK):  # only now: what has neither could be begun anew
        (target / each).unlink()


def _draw(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogateescape")).digest()
