"""The seal: the last 64 bytes of a model file are the sha256, in hex, of all bytes before them.

Protocol buffers write an ONNX model's fields in the order of their numbers, and `metadata_props` comes last; so a last
metadata entry with a value of 64 characters ends the file. Hashing finds any flipped or missing byte before a parser
reads the file. A forger can seal a changed file again; the sha256 of the whole file, which is printed and written next
to the file in the form that `sha256sum -c` reads, detects that.
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
# The limit of protocol buffers.
MAX_BYTES = (1 << 31) - 1
_MAX_DIGEST_FILE_BYTES = 10_000
ELSEWHERE = "choose another place with -o"
TAKEN = "choose another name with -o; a model file is never overwritten"
STALE = "remove it if its model file no longer exists"


@dataclass(frozen=True, slots=True)
class SealedBytes:
    """A model file's verified bytes; the runtime is given exactly these.

    Attributes:
        data: the whole file.
        sha256: hex digest of `data`, which identifies the file.
        path: the file they were read from.
    """

    data: bytes
    sha256: str
    path: Path


def seal_bytes(unsealed: bytes) -> bytes:
    """Fills in the blank seal at the end of a serialised model.

    Raises:
        ValueError: the bytes do not end with a blank seal.
    """
    if not unsealed.endswith(BLANK):
        raise ValueError("a model to be sealed must end with a blank seal")
    body = unsealed[:-SEAL_LENGTH]
    return body + hashlib.sha256(body).hexdigest().encode()


def read_sealed(path: Path) -> SealedBytes:
    """Reads a model file once and verifies its bytes: the seal, and the digest in NAME.sha256 if that file exists.

    Args:
        path: the file, or the name of a bundled model.

    Raises:
        ModelFileError: missing, unreadable, not a model file, damaged, or its digest differs from NAME.sha256.
    """
    try:
        path = bundled.locate(path)
        data = read_file(path, MAX_BYTES)
    except FileNotFoundError:
        choices = f"{', '.join(bundled.names())}, or a file written by mlcycle freeze"
        raise ModelFileError(f"no such model file: {path}", f"pass {choices}") from None
    except OSError as problem:
        what = f"the model file {path} cannot be read: {problem.strerror}"
        raise ModelFileError(what, "pass a readable file written by mlcycle freeze") from None
    digest = hashlib.sha256(data).hexdigest()
    _check_digest_file(path, digest)
    body, seal = data[:-SEAL_LENGTH], data[-SEAL_LENGTH:]
    if len(data) <= SEAL_LENGTH or (not _is_hex(seal) and not damage_of(data).is_seal_alone):
        raise ModelFileError(
            f"{path} is truncated, or is not a model file written by mlcycle",
            "fetch it again, or run: mlcycle freeze RUN",
        )
    if hashlib.sha256(body).hexdigest().encode() != seal:
        raise ModelFileError(f"{path} is damaged: {damage_of(data).sentence}", "fetch it again, or freeze it again")
    return SealedBytes(data, digest, path)


def read_file(path: Path, max_bytes: int) -> bytes:
    """Returns the bytes of a regular file; pipes and devices, which may never end, are not read.

    Raises:
        OSError: no such file, not a regular file, or larger than `max_bytes`.
    """
    with open(path, "rb", opener=_open_without_blocking) as file:
        status = os.fstat(file.fileno())  # of the opened file itself
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is a pipe or a device, not a file")
        if status.st_size > max_bytes:
            raise OSError(errno.EFBIG, f"it is too large, with more than {max_bytes:,} bytes")
        return file.read(status.st_size)


def _open_without_blocking(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # opening a pipe would wait for a writer


def digest_path(path: Path) -> Path:
    """Returns the path of a model file's digest: NAME.sha256."""
    return path.with_name(path.name + ".sha256")


def write_sealed(data: bytes, path: Path) -> str:
    """Writes a sealed model file, read-only, and its digest next to it, atomically and without replacing a file.

    Writing the same bytes again changes nothing. Returns the sha256 of the file.

    Raises:
        InputError: the name is taken by a different file, or the folder cannot be written.
    """
    digest = hashlib.sha256(data).hexdigest()
    with files.attributed(path, ELSEWHERE):
        must_be_free(data, path)
        write_once(path, data)
        write_once(digest_path(path), _digest_line(data, path))
    return digest


def must_be_free(data: bytes, path: Path) -> None:
    """Raises InputError if a different file has this name, or the name of its digest."""
    must_hold(data, path, TAKEN)
    must_hold(_digest_line(data, path), digest_path(path), STALE)


def must_be_writable(folder: Path) -> None:
    """Raises InputError if a folder, or its nearest existing parent, is not writable: an early check before long work.

    Only writing itself shows whether it succeeds.
    """
    existing = next(each for each in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(each))
    if not (existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)):
        raise InputError(f"{existing} is not a writable folder", ELSEWHERE)


def must_hold(data: bytes, path: Path, hint: str) -> None:
    """Raises InputError if a file of this name has other contents."""
    if path.exists() and (not path.is_file() or path.read_bytes() != data):
        raise InputError(f"{path} exists with other contents", hint)


def _digest_line(data: bytes, path: Path) -> bytes:
    return f"{hashlib.sha256(data).hexdigest()}  {path.name}\n".encode()


def write_once(path: Path, data: bytes) -> None:
    """Writes a read-only file, unless it exists; it then has the same bytes, as `must_hold` checks.

    Raises:
        InputError: it cannot be written.
    """
    if not path.exists():
        files.write(path, data, mode=0o444, hint=ELSEWHERE)


def _check_digest_file(path: Path, digest: str) -> None:
    digest_file = digest_path(path)
    try:
        expected = read_file(digest_file, _MAX_DIGEST_FILE_BYTES).decode().split()
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError):
        expected = []
    if not expected or expected[0].lower() != digest:
        raise ModelFileError(
            f"the sha256 of {path} is not the one in {digest_file.name}",
            "fetch both again; do not use this file until they agree",
        )


def _is_hex(text: bytes) -> bool:
    return all(byte in b"0123456789abcdef" for byte in text)
