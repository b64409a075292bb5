"""Files of tensors that are whole or not there: sealed by a digest, written to a sibling, and safe from a power cut.

The format is safetensors, in which nothing can execute, and which does not notice a flipped bit. So the sha256 of all
of the file, with sixty-four zeros in its own place, stands among the metadata; other readers take it for one more text.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from mlcycle import files
from mlcycle.errors import DataError

# Among the metadata: how far the run is that a checkpoint is of, as JSON, and the file's digest.
PROGRESS_KEY, SEAL_KEY = "mlcycle.checkpoint", "mlcycle.sha256"
ZEROS = b"0" * 64
GO_ON = "what was saved before is still there; make room, and go on"
_MARK = f'"{SEAL_KEY}":"'.encode()
# In front of a safetensors file's header stands its length, in eight bytes.
_START = 8


def write(path: Path, data: bytes) -> None:
    """Seals safetensors that carry `SEAL_KEY: ZEROS` and puts them at `path`, of which nothing is lost until then.

    Raises:
        InputError: it cannot be written, since the disk is full, say; what was at `path` is still there.
    """
    at = data.index(_MARK + ZEROS) + len(_MARK)
    digest = hashlib.sha256(data).hexdigest().encode()
    view = memoryview(data)
    with files.attributed(path, GO_ON), files.atomic(path, overwrite=True) as file:
        for part in (view[:at], digest, view[at + len(ZEROS) :]):
            file.write(part)


def read(path: Path) -> bytes:
    """Returns a file's bytes as safetensors; one without a seal, of an earlier mlcycle's, passes.

    Raises:
        DataError: it is not there, cut short, or not what was written.
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
            f"{path} cannot be read: it is damaged, for its bytes are not those that were written",
            "resume from an earlier one",
        )
    return data


def texts(data: bytes) -> dict[str, str]:
    """Returns the metadata of safetensors.

    Raises:
        ValueError: they are not safetensors.
    """
    header = json.loads(data[_START : _START + int.from_bytes(data[:_START], "little")])
    found = header.get("__metadata__") if isinstance(header, dict) else None
    return found if isinstance(found, dict) else {}


def peek(path: Path) -> dict[str, str]:
    """Returns a file's metadata without reading the rest; nothing where there is no such file, or a damaged one."""
    try:
        with path.open("rb") as file:
            start = file.read(_START)
            return texts(start + file.read(min(int.from_bytes(start, "little"), 2**26)))
    except (OSError, ValueError):
        return {}
