"""Reading packed shards, as `mlcycle data pack` writes them: index.json, and NAME-000000.tar and .jsonl for each.

index.json names the shards of each part, with their sizes and sha256. A .jsonl has the labels of a shard and where each
image's bytes lie in its tar, so nothing is unpacked, and no tar is opened before an image is asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.datasets.member import Member
from mlcycle.datasets.shards.packed_labels import from_json
from mlcycle.datasets.shards.shard_file import Shard
from mlcycle.errors import DataError

INDEX = "index.json"
FORMAT = "mlcycle packed shards"
SCHEMA_VERSION = 1
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
        DataError: the index is damaged, or of a later version.
    """
    return list(_parts(place))


def read_packed(place: Path, split: str) -> list[LabelledImage]:
    """Reads the labels of one part; an image's path is a member of its shard.

    Raises:
        DataError: a shard is missing or has another size than the index says, or labels are damaged.
    """
    folder = _index(place).parent
    return [each for shard in _parts(place)[split] for each in _images(folder, shard)]


def size_of(place: Path, split: str = "") -> int:
    """Returns how many bytes the shards of one part have, or of all."""
    return sum(shard.bytes for shard in _shards(place, split))


def must_be_whole(place: Path, split: str = "", advance: Callable[[int], None] = lambda n: None) -> None:
    """Holds every byte of a part's shards, or of all, against the index; `advance` is called with numbers of bytes.

    Raises:
        DataError: a shard is missing, or its bytes are others.
    """
    for shard in _shards(place, split):
        tar = _tar(_index(place).parent, shard)
        if _sha256(tar, advance) != shard.sha256:
            raise _damaged(tar, "its bytes are not those that were packed")


def finished_shard(folder: Path, name: str) -> tuple[Shard, list[str]] | None:
    """Returns a shard that a packing has finished, and the names of its images; None if it is not there."""
    tar, labels = folder / f"{name}.tar", folder / f"{name}.jsonl"
    if not labels.is_file():  # it comes after the tar
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
        if version != SCHEMA_VERSION:
            raise DataError(f"{file} is of version {version}, which this mlcycle does not know", "pack the set anew")
        return {_part_name(part["name"]): [_shard(each) for each in part["shards"]] for part in content["parts"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise _damaged(file, _said(problem)) from None


def _shard(told: dict[str, Any]) -> Shard:
    shard = Shard(**told)
    _must_be_a_file_name(shard.name)
    _must_be_counts(shard.images, shard.bytes)
    return shard


def _part_name(name: Any) -> str:
    """Parts become folders where the set is written in another layout."""
    if name != "":
        _must_be_a_file_name(name)
    return name


def _must_be_a_file_name(name: Any) -> None:
    """Shards may come from strangers: nothing in them leads out of their folder."""
    if not isinstance(name, str) or name in ("", ".", "..") or set(name) & set("/\\:\0"):
        raise ValueError(f"{name!r} is no file's name")


def _must_be_counts(*numbers: Any) -> None:
    for each in numbers:
        if type(each) is not int or each < 0:
            raise ValueError(f"{each!r} is no number of bytes or images")


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
            yield from_json(content, _member(tar, shard, content))
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as problem:
            raise _damaged(labels, f"line {number}: {_said(problem)}") from None


def _member(tar: Path, shard: Shard, content: dict[str, Any]) -> Member:
    name, offset, size = content["file"], content["offset"], content["bytes"]
    _must_be_a_file_name(name)
    _must_be_counts(offset, size)
    if offset + size > shard.bytes:
        raise ValueError(f"{name} lies beyond the end of {tar.name}")
    return Member(tar, name, offset, size)


def _said(problem: Exception) -> str:
    return f"it has no {problem}" if isinstance(problem, KeyError) else str(problem)


def _damaged(file: Path, why: str) -> DataError:
    return DataError(f"the packed set is not whole: {file}: {why}", "copy it again, or pack the set anew")
