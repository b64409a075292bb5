"""Reads packed shards, as `mlcycle data pack` writes them: index.json, and NAME-000000.tar and .jsonl for each shard.

index.json lists the shards of each part, with their sizes and sha256. A .jsonl has the labels of a shard and the offset
of each image's bytes in its tar, so nothing is unpacked, and no tar is opened before an image is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mlcycle.datasets.labelled_image import LabelledImage, checked_name
from mlcycle.datasets.member import Member
from mlcycle.datasets.shards.packed_labels import from_json
from mlcycle.datasets.shards.shard_file import Shard
from mlcycle.errors import DataError

INDEX = "index.json"
FORMAT = "mlcycle packed shards"
# Version 1 counted the images of a shard under "photographs"; it is still read.
SCHEMA_VERSION = 2
CHUNK = 2**20


def is_packed(place: Path) -> bool:
    """Returns whether a path is a folder with an index of shards, or such an index."""
    file = _index(place)
    if file.name != INDEX or not file.is_file():
        return False
    with file.open("rb") as opened:
        return FORMAT.encode() in opened.read(200)


def splits(place: Path) -> list[str]:
    """Returns the names of the parts.

    Raises:
        DataError: the index is damaged, or of an unknown version.
    """
    return list(_parts(place))


def read_packed(place: Path, split: str) -> list[LabelledImage]:
    """Reads the labels of one part; the path of each image is a member of its shard.

    Raises:
        DataError: a shard is missing or has another size than in the index, or labels are damaged.
    """
    folder = _index(place).parent
    return [each for shard in _parts(place)[split] for each in _images(folder, shard)]


def size_of(place: Path, split: str = "") -> int:
    """Returns the size in bytes of the shards of one part, or of all parts."""
    return sum(shard.bytes for shard in _shards(place, split))


def must_be_whole(place: Path, split: str = "", advance: Callable[[int], None] = lambda n: None) -> None:
    """Compares the sha256 of a part's shards, or of all, with the index; `advance` is called with numbers of bytes.

    Raises:
        DataError: a shard is missing, or its bytes differ.
    """
    for shard in _shards(place, split):
        tar = _tar(_index(place).parent, shard)
        if _sha256(tar, advance) != shard.sha256:
            raise _damaged(tar, "its bytes are not those that were packed")


def finished_shard(folder: Path, name: str) -> tuple[Shard, list[str]] | None:
    """Returns a shard that an interrupted packing has finished, and the names of its images; None if not finished."""
    tar, labels = folder / f"{name}.tar", folder / f"{name}.jsonl"
    if not labels.is_file():  # it is written after the tar
        return None
    lines = labels.read_bytes()
    names = [json.loads(line)["name"] for line in lines.splitlines()]
    shard = Shard(name, len(names), tar.stat().st_size, _sha256(tar), hashlib.sha256(lines).hexdigest())
    return shard, names


def _sha256(file: Path, advance: Callable[[int], None] = lambda n: None) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while data := opened.read(CHUNK):
            digest.update(data)
            advance(len(data))
    return digest.hexdigest()


def _shards(place: Path, split: str) -> list[Shard]:
    return [shard for part, shards in _parts(place).items() if split in ("", part) for shard in shards]


def _index(place: Path) -> Path:
    return place / INDEX if place.is_dir() else place


def _parts(place: Path) -> dict[str, list[Shard]]:
    file = _index(place)
    try:
        content: dict[str, Any] = json.loads(file.read_bytes())
        version = content["schema_version"]
        if version not in (1, SCHEMA_VERSION):
            raise DataError(f"{file} has version {version}, which this mlcycle cannot read", "pack the set again")
        count = "photographs" if version == 1 else "images"
        return {_part_name(part["name"]): [_shard(each, count) for each in part["shards"]] for part in content["parts"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        raise _damaged(file, _reason(problem)) from None


def _shard(entry: dict[str, Any], count: str) -> Shard:
    """Reads the index's entry of a shard; `count` is the key of its number of images."""
    shard = Shard(**{"images" if key == count else key: value for key, value in entry.items()})
    _must_be_a_file_name(shard.name)
    _must_be_counts(shard.images, shard.bytes)
    return shard


def _part_name(name: Any) -> str:
    """Returns a part's name; it is a file name, because other layouts have a folder for each part."""
    if name != "":
        _must_be_a_file_name(name)
    return name


def _must_be_a_file_name(name: Any) -> None:
    """Shards can come from untrusted sources: no name in them leads out of their folder."""
    if not isinstance(name, str) or name in ("", ".", "..") or set(name) & set("/\\:\0"):
        raise ValueError(f"{name!r} is not a file name")


def _must_be_counts(*numbers: Any) -> None:
    for each in numbers:
        if type(each) is not int or each < 0:
            raise ValueError(f"{each!r} is not a number of bytes or images")


def _tar(folder: Path, shard: Shard) -> Path:
    tar = folder / f"{shard.name}.tar"
    try:
        size = tar.stat().st_size
    except OSError as problem:
        raise _damaged(tar, problem.strerror or str(problem)) from None
    if size != shard.bytes:
        raise _damaged(tar, f"it has {size:,} bytes, and {shard.bytes:,} were packed")
    return tar


def _images(folder: Path, shard: Shard) -> Iterator[LabelledImage]:
    tar, labels = _tar(folder, shard), folder / f"{shard.name}.jsonl"
    try:
        data = labels.read_bytes()
    except OSError as problem:
        raise _damaged(labels, problem.strerror or str(problem)) from None
    if hashlib.sha256(data).hexdigest() != shard.labels_sha256:
        raise _damaged(labels, "its bytes are not those that were packed")
    for number, line in enumerate(data.splitlines(), 1):
        try:
            content = json.loads(line)
            image = from_json(content, _member(tar, shard, content))
            checked_name(image.name, labels)
            yield image
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as problem:
            raise _damaged(labels, f"line {number}: {_reason(problem)}") from None


def _member(tar: Path, shard: Shard, content: dict[str, Any]) -> Member:
    name, offset, size = content["file"], content["offset"], content["bytes"]
    _must_be_a_file_name(name)
    _must_be_counts(offset, size)
    if offset + size > shard.bytes:
        raise ValueError(f"{name} ends beyond {tar.name}")
    return Member(tar, name, offset, size)


def _reason(problem: Exception) -> str:
    return f"it has no {problem}" if isinstance(problem, KeyError) else str(problem)


def _damaged(file: Path, why: str) -> DataError:
    return DataError(f"the packed set is damaged: {file}: {why}", "copy it again, or pack the set again")
