"""The names of images in a private run: hashes that cannot be reversed without the run's key.

The key is 32 random bytes. A run folder keeps it in names.key, so that the run can be resumed; without a run folder it
is discarded at the end. The key and the images' own names together show which is which; without the key nothing does.
"""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from mlcycle import files
from mlcycle.errors import InputError
from mlcycle.inference.record import JPEG_SUFFIXES, VIDEO_SUFFIXES, Record, Source

NAME = "names.key"
WITHHELD = "the error names a path, which --private withholds"
_LENGTH = 32
# A slash, except in fractions such as 1/2, or a dot followed by a possible suffix.
_PATH = re.compile(r"(?<!\d)/|/(?!\d)|\w\.[A-Za-z][A-Za-z0-9]{1,4}\b")
_ALLOWED = re.compile(r"\b(RUN/|FILE\b|names\.key\b)\S*")


class HashedNames:
    """Hashes the names of a run's images with its key.

    Attributes:
        is_saved: whether the key is in a file, so that another process can resume the run.
    """

    def __init__(self, key: bytes, *, is_saved: bool) -> None:
        self._key = key
        self.is_saved = is_saved

    @property
    def fingerprint(self) -> str | None:
        """Identifies the key without revealing it; None if the key is not saved."""
        return self._hash(b"\0fingerprint")[:16] if self.is_saved else None

    def name(self, key: str) -> str:
        """Returns an image's hashed name: 128 bits of the HMAC-SHA256 of its key in hex, and a suffix.

        The suffix is that of its copies: JPEGs and videos keep theirs, other formats become PNG.
        """
        suffix = os.path.splitext(key)[1].lower()  # noqa: PTH122 (a Path for each of a million names is slow)
        if suffix not in VIDEO_SUFFIXES:
            suffix = ".jpg" if suffix in JPEG_SUFFIXES else ".png"
        return self._hash(os.fsencode(key)) + suffix

    def hide(self, sources: Iterable[Source]) -> Iterator[Source]:
        """Yields each image with its hashed name as key."""
        return (replace(source, key=self.name(source.key)) for source in sources)

    def save_key(self, folder: Path) -> str | None:
        """Writes the key into a folder, which is created, readable only by this user; returns the fingerprint.

        If another process has written a key meanwhile, that key is used.

        Raises:
            InputError: it cannot be written.
        """
        if not self.is_saved:
            try:
                with files.atomic(folder / NAME, mode=0o600) as file:
                    file.write(self._key.hex().encode() + b"\n")
            except FileExistsError:
                self._key = _read(folder)
            except OSError as problem:
                raise InputError(f"{folder} cannot be written: {problem.strerror}", "choose another folder") from None
            self.is_saved = True
        return self.fingerprint

    def conceal(self, text: str) -> str:
        """Returns the hash of a text that would identify a file, such as its size and time."""
        return self._hash(b"\0" + os.fsencode(text))

    def _hash(self, data: bytes) -> str:
        return hmac.digest(self._key, data, "sha256")[:16].hex()


def load_names(folder: Path | None) -> HashedNames:
    """Returns the names hashed with a folder's key, or with a new key, which is not saved yet.

    Raises:
        InputError: the key cannot be read.
    """
    if folder and (folder / NAME).exists():
        return HashedNames(_read(folder), is_saved=True)
    return HashedNames(os.urandom(_LENGTH), is_saved=False)


def without_paths(record: Record, folder: Path | None) -> Record:
    """Returns a record without paths or text of its file.

    Its copies are relative to `folder`, and its error message names no path and quotes no decoder.
    """
    copies = {
        kind: Path(path).relative_to(folder).as_posix() if folder else path for kind, path in record.copies.items()
    }
    if not record.error:
        return replace(record, copies=copies)
    code, message = record.error
    if code == "damaged":
        message = message.partition(":")[0]  # decoders quote the file
    message = replace_paths(message, {str(folder): "RUN"} if folder else {})
    if names_a_path(message):
        message = WITHHELD
    return replace(record, copies=copies, error=(code, message))


def replace_paths(text: str, words: Mapping[str, str]) -> str:
    """Returns a text in which known paths are replaced by words such as "RUN", the longest paths first."""
    for path in sorted(words, key=len, reverse=True):
        text = text.replace(path, words[path])
    return text


def names_a_path(text: str) -> bool:
    """Returns whether a text may name a file or folder other than FILE and the contents of RUN."""
    return _PATH.search(_ALLOWED.sub("", text)) is not None


def _read(folder: Path) -> bytes:
    try:
        key = bytes.fromhex((folder / NAME).read_text("ascii"))
    except OSError as problem:
        raise InputError(f"{folder / NAME} cannot be read: {problem.strerror}") from None
    except ValueError:
        key = b""
    if len(key) != _LENGTH:
        raise InputError(f"{folder / NAME} is not a key", "restore the original file, or choose another folder")
    return key
