"""What images are called in a private run: by hashes that nobody can undo without the run's key.

The key is 32 random bytes. A run folder keeps it in names.key, to go on with; where there is none it is forgotten at
the end. Who has the key and the images' names can say which is which; once it is deleted, nobody can.
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
KEPT_BACK = "what went wrong names a path, which --private keeps back"
_LENGTH = 32
# A slash, but not that of 1/2, or a dot with what could be a suffix behind it.
_PATH = re.compile(r"(?<!\d)/|/(?!\d)|\w\.[A-Za-z][A-Za-z0-9]{1,4}\b")
_OURS = re.compile(r"\b(RUN/|FILE\b|names\.key\b)\S*")


class Names:
    """The names of a run's images, by its key.

    Attributes:
        kept: whether the key is in a file, so that another process can go on with it.
    """

    def __init__(self, key: bytes, *, kept: bool) -> None:
        self._key = key
        self.kept = kept

    @property
    def fingerprint(self) -> str | None:
        """Returns what tells this key from others and says nothing of it; None if it is not kept."""
        return self._hash(b"\0fingerprint")[:16] if self.kept else None

    def name(self, key: str) -> str:
        """Returns what an image is called: the HMAC-SHA256 of its key, 128 bits of it in hex, and .jpg or .png.

        The suffix is the one that its copies have: JPEGs stay JPEGs and videos what they are, and all else becomes PNG.
        """
        suffix = os.path.splitext(key)[1].lower()  # noqa: PTH122 (a Path for each of a million names is slow)
        if suffix not in VIDEO_SUFFIXES:
            suffix = ".jpg" if suffix in JPEG_SUFFIXES else ".png"
        return self._hash(os.fsencode(key)) + suffix

    def hide(self, sources: Iterable[Source]) -> Iterator[Source]:
        """Yields each image under its name of this run."""
        return (replace(source, key=self.name(source.key)) for source in sources)

    def keep(self, folder: Path) -> str | None:
        """Writes the key into a folder, which is made, readable for this user alone; returns the fingerprint.

        If another process was quicker, its key becomes this one.

        Raises:
            InputError: it cannot be written.
        """
        if not self.kept:
            try:
                with files.atomic(folder / NAME, mode=0o600) as file:
                    file.write(self._key.hex().encode() + b"\n")
            except FileExistsError:
                self._key = _read(folder)
            except OSError as problem:
                raise InputError(f"{folder} cannot be written: {problem.strerror}", "choose another folder") from None
            self.kept = True
        return self.fingerprint

    def _hash(self, data: bytes) -> str:
        return hmac.digest(self._key, data, "sha256")[:16].hex()


def names_of(folder: Path | None) -> Names:
    """Returns the names by the key that a folder keeps, or else by a new one, which is not kept yet.

    Raises:
        InputError: the key cannot be read.
    """
    if folder and (folder / NAME).exists():
        return Names(_read(folder), kept=True)
    return Names(os.urandom(_LENGTH), kept=False)


def discreet(record: Record, folder: Path | None) -> Record:
    """Returns a record without a path: its copies are named from `folder` on, and its error's sentence names none."""
    copies = {
        kind: Path(path).relative_to(folder).as_posix() if folder else path for kind, path in record.copies.items()
    }
    if not record.error:
        return replace(record, copies=copies)
    code, message = record.error
    message = covered(message, {str(folder): "RUN"} if folder else {})
    if names_a_path(message):
        message = KEPT_BACK
    return replace(record, copies=copies, error=(code, message))


def covered(text: str, words: Mapping[str, str]) -> str:
    """Returns a text in which paths that are known are words instead, as "RUN"; the longest come first."""
    for path in sorted(words, key=len, reverse=True):
        text = text.replace(path, words[path])
    return text


def names_a_path(text: str) -> bool:
    """Tells whether a text may name a file or a folder, other than FILE, and what lies in RUN."""
    return _PATH.search(_OURS.sub("", text)) is not None


def _read(folder: Path) -> bytes:
    try:
        key = bytes.fromhex((folder / NAME).read_text("ascii"))
    except OSError as problem:
        raise InputError(f"{folder / NAME} cannot be read: {problem.strerror}") from None
    except ValueError:
        key = b""
    if len(key) != _LENGTH:
        raise InputError(f"{folder / NAME} is no key", "bring back the one that was there, or choose another folder")
    return key
