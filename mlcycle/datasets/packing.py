"""Conductor of `mlcycle data pack`: labelled images → tar shards. Read it top to bottom.

The shards are written to a draft folder next to the target, which is renamed to the target at the end and which one
process at a time locks. If an interrupted call left a draft of the very same set, its finished shards are kept;
any other draft is deleted.
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
# Valid suffixes of members; an image with another suffix gets that of its format.
SUFFIX = re.compile(r"\.[a-z0-9]{1,5}")

Parts = Mapping[str, Sequence[LabelledImage]]
Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class PackOptions:
    """How to pack: the size in bytes of a full shard, the seed of the order, whether to skip unreadable images."""

    shard_bytes: int = 256 * 10**6
    seed: int = 0
    skip_unreadable: bool = False


@dataclass(slots=True)
class PackResult:
    """The result of packing.

    Attributes:
        shards: of each part.
        left_out: name of each image that cannot be read, and why.
        renamed: the number of images that were renamed because their name was taken.
        resumed: the number of shards that an interrupted call had finished.
    """

    shards: dict[str, list[Shard]] = field(default_factory=dict)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    renamed: int = 0
    resumed: int = 0


def pack(parts: Parts, target: Path, options: PackOptions, advance: Advance = lambda n: None) -> PackResult:
    """Writes a set as shards, each a random sample of its part: the order is drawn from names and the seed.

    Every image is decoded once, and its bytes are written unchanged. The same images, labels and options give the
    same bytes.

    Args:
        parts: images of each part; "" for a set without parts.
        target: a folder that does not exist yet.
        advance: called with the number of images that were packed since the last call.

    Raises:
        InputError: the folder already exists, cannot be written, or is being packed by another process.
        DataError: an image is missing or broken, or a box is not finite.
    """
    new_folder.must_be_free(target)
    _must_be_numbers(parts)
    named = {part: set_names.unique(images) for part, images in parts.items()}
    done, number = PackResult(renamed=_count_renamed(parts, named)), 0
    draft = target.parent / f".{target.name}{shard_file.PART}"
    with files.attributed(target, shard_file.HINT):
        _must_be_a_draft(draft)
        with new_folder.locked(draft, LOCK, target):
            _prepare(draft, named, options)
            for part, prefix in _prefixes(named, target.name).items():
                images = sorted(named[part], key=lambda each: _sort_key(each.name, options.seed))
                done.shards[part] = _pack_part(_Place(draft, prefix, number), images, options, done, advance)
                number += len(images)
            _finish(draft, target, done, options)
    return done


def _must_be_numbers(parts: Parts) -> None:
    if not any(parts.values()):
        raise DataError("no images to pack", "is this the right set, and the right split?")
    for images in parts.values():
        for each in images:
            if not np.isfinite(each.boxes_N4).all():
                raise DataError(f"{each.name} has a box that is not finite", "mlcycle data check lists all of them")


def _count_renamed(parts: Parts, named: Parts) -> int:
    return sum(
        before.name != after.name for part in parts for before, after in zip(parts[part], named[part], strict=True)
    )


def _must_be_a_draft(draft: Path) -> None:
    if not draft.exists() or not any(draft.iterdir()) or any((draft / each).is_file() for each in (LOCK, PLAN, INDEX)):
        return
    raise InputError(
        f"{draft} exists and was not written by mlcycle data pack", "remove it, or choose another folder with --out"
    )


def _prepare(draft: Path, parts: Parts, options: PackOptions) -> None:
    """Keeps the shards that an earlier call with the same plan has finished, else empties the folder."""
    digests = {name: _digest(images) for name, images in parts.items()}
    # Skipping unreadable images is not part of the plan: a call that failed on one can be resumed with it.
    settings = {"shard_bytes": options.shard_bytes, "seed": options.seed}
    plan = shard_file.compact_json({"schema_version": SCHEMA_VERSION, "options": settings, "parts": digests}).encode()
    is_same = (draft / PLAN).is_file() and (draft / PLAN).read_bytes() == plan
    for left in draft.iterdir():
        if left.name != LOCK and (not is_same or left.name.endswith(shard_file.PART)):
            left.unlink()
    if not is_same:
        files.write(draft / PLAN, plan, overwrite=True, hint=shard_file.HINT)


def _digest(images: Sequence[LabelledImage]) -> str:
    """Returns a digest of everything that is written about images; their fingerprint leaves some of it out."""
    digest = hashlib.sha256(fingerprint(list(images)).encode())
    for each in sorted(images, key=lambda each: each.name):
        scores = None if each.scores_N is None else each.scores_N.tolist()
        digest.update(repr((each.group, each.size, each.scale, each.coco_ids, scores)).encode())
    return digest.hexdigest()


def _prefixes(parts: Parts, name: str) -> dict[str, str]:
    """Returns the shards' name prefix for each split: the split's name, or the set's if it has no splits."""
    plain = {part: re.sub(r"[^A-Za-z0-9_-]+", "-", part or name).strip("-") or "set" for part in parts}
    unique = len(set(plain.values())) == len(plain)
    return plain if unique else {part: f"{plain[part]}-{index}" for index, part in enumerate(plain)}


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the shards of a part are written: folder, prefix of their names, and the number of its first image."""

    folder: Path
    prefix: str
    first: int

    def name(self, shard: int) -> str:
        return f"{self.prefix}-{shard:06d}"


def _pack_part(
    place: _Place, images: Sequence[LabelledImage], options: PackOptions, done: PackResult, advance: Advance
) -> list[Shard]:
    shards, first = _finished_shards(place, images, options, done)
    advance(first)
    writer: ShardWriter | None = None
    for index, data, suffix, labels in _readable(images, first, options, done, advance):
        if writer is not None and writer.size + len(data) > options.shard_bytes:
            shards.append(writer.finish())
            writer = None
        writer = writer or ShardWriter(place.folder, place.name(len(shards)))
        writer.add(f"{place.first + index:09d}", suffix, data, labels)
    if writer is not None:
        shards.append(writer.finish())
    if not shards:
        raise DataError("none of the images can be read", "run: mlcycle data check")
    return shards


def _finished_shards(
    place: _Place, images: Sequence[LabelledImage], options: PackOptions, done: PackResult
) -> tuple[list[Shard], int]:
    """Returns the shards that an earlier call has finished, and the number of images that they cover."""
    shards: list[Shard] = []
    names: list[str] = []
    while (found := finished_shard(place.folder, place.name(len(shards)))) is not None:
        shards.append(found[0])
        names += found[1]
    done.resumed += len(shards)
    first = next((index + 1 for index in reversed(range(len(images))) if names and images[index].name == names[-1]), 0)
    packed = set(names)
    for each in images[:first]:
        if each.name not in packed:
            file = inspect_file(each.path)
            _must_be_skippable(each, file, options)
            done.left_out.append((each.name, file.problem))
    return shards, first


def _readable(
    images: Sequence[LabelledImage], first: int, options: PackOptions, done: PackResult, advance: Advance
) -> Iterator[tuple[int, bytes, str, dict[str, object]]]:
    """Yields the number, bytes, suffix and labels of each readable image, starting at number `first`."""
    rest = images[first:]
    for index, (image, file) in enumerate(zip(rest, inspect_files([each.path for each in rest]), strict=True), first):
        if file.problem:
            _must_be_skippable(image, file, options)
            done.left_out.append((image.name, file.problem))
        else:
            data = image.path.read_bytes()
            if hashlib.sha256(data).hexdigest() != file.sha256:
                raise DataError(f"{image.path} changed while it was packed", "run it again")
            yield index, data, _suffix(image, file), packed_labels.to_json(image, file.size)
        advance(1)


def _must_be_skippable(image: LabelledImage, file: ImageFile, options: PackOptions) -> None:
    if not options.skip_unreadable:
        raise DataError(
            f"the image {image.path} cannot be read: {file.problem}",
            "repair it, or leave out unreadable images with --skip-unreadable",
        )


def _suffix(image: LabelledImage, file: ImageFile) -> str:
    suffix = PurePosixPath(image.name).suffix.lower()
    return suffix if SUFFIX.fullmatch(suffix) and suffix != ".json" else f".{file.format.lower()}"


def _finish(draft: Path, target: Path, done: PackResult, options: PackOptions) -> None:
    """Writes the index, which makes the folder a set, and renames the draft to the target."""
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
        "seed": options.seed,
        "parts": parts,
        "left_out": left_out,
    }
    files.write(draft / INDEX, f"{shard_file.compact_json(content)}\n", overwrite=True, hint=shard_file.HINT)
    new_folder.must_be_free(target)
    draft.rename(target)
    for each in (PLAN, LOCK):  # last: without them a draft would not be resumed
        (target / each).unlink()


def _sort_key(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogateescape")).digest()
