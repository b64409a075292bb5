"""The seal: the last 64 bytes of a model file are the sha256, in hex, of all bytes before them.

Protocol buffers write an ONNX model's fields in the order of their numbers, and `metadata_props` comes last; so a last
metadata entry whose value has 64 characters *is* the file's end. Any flipped or missing byte is found by hashing, with
no parser, before anything looks into the file. Against a forger, who can seal again, stands the file's whole sha256,
which is printed, and kept beside the file in the form that `sha256sum -c` reads.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from mlcycle import files
from mlcycle.artifact import bundled
from mlcycle.artifact.structure import damage_of
from mlcycle.errors import InputError, ModelFileError

SEAL_LENGTH = 64
BLANK = b"0" * SEAL_LENGTH
# Protocol buffers end here as well.
MOST_BYTES = (1 << 31) - 1
_MOST_OF_A_DIGEST = 10_000
ELSEWHERE = "choose another place with -o"
TAKEN = "choose another name with -o; a model file is never overwritten"
STALE = "remove it if it belongs to no file any more"


@dataclass(frozen=True, slots=True)
class SealedBytes:
    """A model file's bytes, verified; these bytes and no others go to the runtime.

    Attributes:
        data: the whole file.
        sha256: hex digest of `data`: the file's name to the world.
        path: where they were read from.
    """

    data: bytes
    sha256: str
    path: Path


def seal_bytes(unsealed: bytes) -> bytes:
    """Fills in the seal of a serialised model that ends with a blank one.

    Raises:
        ValueError: the bytes do not end with a blank seal.
    """
    if not unsealed.endswith(BLANK):
        raise ValueError("a model to be sealed must end with a blank seal")
    body = unsealed[:-SEAL_LENGTH]
    return body + hashlib.sha256(body).hexdigest().encode()


def read_sealed(path: Path) -> SealedBytes:
    """Reads a model file once and verifies these bytes: the seal in the file, and the digest beside it if there is one.

    Args:
        path: of the file, or the name of one that comes with mlcycle.

    Raises:
        ModelFileError: missing, unreadable, not a model of mlcycle's, damaged, or not the one its digest names.
    """
    try:
        path = bundled.locate(path)
        data = read_file(path, MOST_BYTES)
    except FileNotFoundError:
        there = " or ".join([*bundled.names(), "a file that mlcycle freeze made"])
        raise ModelFileError(f"there is no model file {path}", f"name {there}") from None
    except OSError as problem:
        what = f"the model file {path} cannot be read: {problem.strerror}"
        raise ModelFileError(what, "name a file that mlcycle froze, and that you may read") from None
    digest = hashlib.sha256(data).hexdigest()
    _check_beside(path, digest)
    body, seal = data[:-SEAL_LENGTH], data[-SEAL_LENGTH:]
    if len(data) <= SEAL_LENGTH or (not _is_hex(seal) and not damage_of(data).is_seal_alone):
        raise ModelFileError(
            f"{path} is cut short, or is not a model file that mlcycle froze",
            "fetch it again, or run: mlcycle freeze RUN",
        )
    if hashlib.sha256(body).hexdigest().encode() != seal:
        raise ModelFileError(f"{path} is damaged: {damage_of(data).sentence}", "fetch it again, or freeze it again")
    return SealedBytes(data, digest, path)


def read_file(path: Path, most: int) -> bytes:
    """Returns the bytes of a file of at most so many; pipes and devices, which may never end, are not read.

    Raises:
        OSError: there is no such file, it is none, or too large.
    """
    with open(path, "rb", opener=_without_waiting) as file:
        status = os.fstat(file.fileno())  # of the very file that is read
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is a pipe or a device, and no file")
        if status.st_size > most:
            raise OSError(errno.EFBIG, f"it is too large, with more than {most:,} bytes")
        return file.read(status.st_size)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a pipe would wait for somebody to write


def digest_path(path: Path) -> Path:
    """Returns where the digest of a model file stands: its own name with .sha256 behind it."""
    return path.with_name(path.name + ".sha256")


def write_sealed(data: bytes, path: Path) -> str:
    """Writes a sealed model file once: atomically, read-only, never over another, its digest beside it.

    Writing the same bytes again changes nothing. Returns the sha256 of the file.

    Raises:
        InputError: another file has this name, or the folder cannot be written.
    """
    digest = hashlib.sha256(data).hexdigest()
    with files.attributed(path, ELSEWHERE):
        must_be_free(data, path)
        _write_once(path, data)
        _write_once(digest_path(path), _beside(data, path))
    return digest


def must_be_free(data: bytes, path: Path) -> None:
    """Raises InputError if another file has this name, or the name of the digest beside it."""
    _must_hold(data, path, TAKEN)
    _must_hold(_beside(data, path), digest_path(path), STALE)


def must_be_writable(folder: Path) -> None:
    """Raises InputError if nothing could be written into a folder, or into the one it would be made in.

    It is asked before work that takes long; what comes of the work is told by writing alone.
    """
    there = next(each for each in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(each))
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise InputError(f"nothing can be written into {there}", ELSEWHERE)


def _must_hold(data: bytes, path: Path, hint: str) -> None:
    if path.exists() and (not path.is_file() or path.read_bytes() != data):
        raise InputError(f"{path} exists and holds something else", hint)


def _beside(data: bytes, path: Path) -> bytes:
    return f"{hashlib.sha256(data).hexdigest()}  {path.name}\n".encode()


def _write_once(path: Path, data: bytes) -> None:
    if not path.exists():  # else with the same bytes, or must_be_free would have said so
        files.write(path, data, overwrite=False, mode=0o444, hint=ELSEWHERE)


def _check_beside(path: Path, digest: str) -> None:
    beside = digest_path(path)
    try:
        expected = read_file(beside, _MOST_OF_A_DIGEST).decode().split()
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError):
        expected = []
    if not expected or expected[0].lower() != digest:
        raise ModelFileError(
            f"{path} is not the file that {beside.name} names",
            "fetch both again; do not use this file until they agree",
        )


def _is_hex(text: bytes) -> bool:
    return all(byte in b"0123456789abcdef" for byte in text)
