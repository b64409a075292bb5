"""Writes one shard: a tar that WebDataset reads, and a .jsonl with its labels, one line per image.

The tar is plain ustar without dates or owners: KEY.jpg and KEY.json for each image, one after the other. NAME.jsonl
repeats the labels, with the offset of each image in NAME.tar, so that opening a set reads no tar.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from mlcycle import files
from mlcycle.datasets.shards.packed_labels import UNITS

BLOCK = tarfile.BLOCKSIZE
PART = ".part"
HINT = "choose another place with --out"


@dataclass(frozen=True, slots=True)
class Shard:
    """A finished shard: name without suffix, number of images, size of the tar in bytes, sha256 of both files."""

    name: str
    images: int
    bytes: int
    sha256: str
    labels_sha256: str


class _HashingFile:
    """A file to write a tar to, which computes its sha256."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.digest, self.at = file, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.at += len(data)
        return self.file.write(data)

    def tell(self) -> int:
        return self.at


class ShardWriter:
    """Writes one shard into a folder; both files appear when it is finished, the labels last."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self._end = ExitStack()
        self._hashed = _HashingFile(self._end.enter_context(files.atomic(folder / f"{name}.tar", overwrite=True)))
        self._tar = tarfile.TarFile(fileobj=self._hashed, mode="w", format=tarfile.USTAR_FORMAT)  # type: ignore[arg-type]
        self._lines: list[str] = []

    @property
    def size(self) -> int:
        """Size of the tar so far in bytes."""
        return self._tar.offset

    def add(self, key: str, suffix: str, data: bytes, labels: Mapping[str, Any]) -> None:
        """Adds an image with its file suffix, such as ".jpg", and its labels."""
        offset = self.size + BLOCK
        self._add(f"{key}{suffix}", data)
        self._add(f"{key}.json", f"{compact_json({**labels, 'units': UNITS})}\n".encode())
        place = {"file": f"{key}{suffix}", "offset": offset, "bytes": len(data)}
        self._lines.append(f"{compact_json({**place, **labels})}\n")

    def finish(self) -> Shard:
        """Puts both files in place."""
        self._tar.close()
        self._end.close()
        lines = "".join(self._lines).encode()
        shard = Shard(
            self.name,
            len(self._lines),
            self._hashed.at,
            self._hashed.digest.hexdigest(),
            hashlib.sha256(lines).hexdigest(),
        )
        files.write(self.folder / f"{self.name}.jsonl", lines, overwrite=True, hint=HINT)
        return shard

    def _add(self, name: str, data: bytes) -> None:
        info = tarfile.TarInfo(name)  # without date and owner: the same images give the same bytes
        info.size = len(data)
        self._tar.addfile(info, io.BytesIO(data))


def compact_json(content: Mapping[str, Any]) -> str:
    """Returns JSON in one line; names that are not UTF-8 are escaped."""
    return json.dumps(content, separators=(",", ":"), allow_nan=False)
