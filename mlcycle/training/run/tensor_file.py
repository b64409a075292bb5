"""Tensor files with a digest, written atomically and synced to disk.

The format is safetensors, which cannot contain code but does not detect a flipped bit. So the metadata holds the sha256
of the whole file, computed with sixty-four zeros in the digest's place. Other readers see it as one more metadata text.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from mlcycle import files
from mlcycle.errors import DataError

# Metadata keys: the run's progress as JSON, and the file's digest.
PROGRESS_KEY, SEAL_KEY = "mlcycle.checkpoint", "mlcycle.sha256"
ZEROS = b"0" * 64
HINT = "resume the run when its folder can be written; earlier checkpoints are unchanged"
_MARK = f'"{SEAL_KEY}":"'.encode()
# A safetensors file starts with the length of its header, in eight bytes.
_START = 8


def write(path: Path, data: bytes) -> None:
    """Inserts the digest into safetensors that contain `SEAL_KEY: ZEROS`, and writes them to `path` atomically.

    Raises:
        InputError: the file cannot be written, for example because the disk is full; an existing file is unchanged.
    """
    at = data.index(_MARK + ZEROS) + len(_MARK)
    digest = hashlib.sha256(data).hexdigest().encode()
    view = memoryview(data)
    with files.attributed(path, HINT), files.atomic(path, overwrite=True) as file:
        for part in (view[:at], digest, view[at + len(ZEROS) :]):
            file.write(part)


def read(path: Path) -> bytes:
    """Returns a file's bytes; a file of an earlier mlcycle without a digest is accepted.

    Raises:
        DataError: missing, truncated, or not the bytes that were written.
    """
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise DataError(f"{path} cannot be read: {problem.strerror}") from None
    end = _START + int.from_bytes(data[:_START], "little")
    at = data.find(_MARK, 0, end) + len(_MARK)
    if at < len(_MARK):
        return data
    digest, view = hashlib.sha256(), memoryview(data)
    for part in (view[:at], ZEROS, view[at + len(ZEROS) :]):
        digest.update(part)
    if digest.hexdigest().encode() != data[at : at + len(ZEROS)]:
        raise DataError(
            f"{path} cannot be read: it is damaged, because its bytes do not match its digest",
            "resume from an earlier one",
        )
    return data


def texts(data: bytes) -> dict[str, str]:
    """Returns the metadata of safetensors.

    Raises:
        ValueError: not safetensors.
    """
    header = json.loads(data[_START : _START + int.from_bytes(data[:_START], "little")])
    found = header.get("__metadata__") if isinstance(header, dict) else None
    return found if isinstance(found, dict) else {}


def peek(path: Path) -> dict[str, str]:
    """Returns a file's metadata without reading the rest; {} if it is missing or damaged."""
    try:
        with path.open("rb") as file:
            start = file.read(_START)
            return texts(start + file.read(min(int.from_bytes(start, "little"), 2**26)))
    except (OSError, ValueError):
        return {}
