"""The signed statement: an in-toto statement with a model's files and their sha256, after OpenSSF Model Signing.

A model is one file or a folder. A file in a folder is named by its path in the folder; a single model file is named
".". OMS treats the name of a whole model as information only; mlcycle checks it.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from mlcycle.errors import InputError, ModelFileError

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
ITSELF = "."
# OMS ignores these in a folder.
IGNORED = (".git", ".gitattributes", ".github", ".gitignore")
_NEWER = "install a newer mlcycle, or check it with the program model_signing"


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of a model.

    Attributes:
        name: of the file or folder, for people.
        digests: file name → sha256 in hex.
        ignored: names of files and folders in the folder that do not belong to the model.
    """

    name: str
    digests: dict[str, str]
    ignored: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        """Returns the statement's bytes: sorted keys, no spaces, ASCII; equal manifests give equal bytes."""
        serialization = {"method": "files", "hash_type": "sha256", "allow_symlinks": False}
        resources = [{"name": name, "algorithm": "sha256", "digest": each} for name, each in self.digests.items()]
        statement = {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": self.name, "digest": {"sha256": _root(self.digests)}}],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "serialization": serialization | ({"ignore_paths": list(self.ignored)} if self.ignored else {}),
                "resources": resources,
            },
        }
        return json.dumps(statement, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def of_file(sha256: str, path: Path) -> Manifest:
    """Returns the manifest of a model that is one file with this digest."""
    return Manifest(_utf8(path.name), {ITSELF: sha256})


def of_folder(folder: Path, ignored: Collection[str] = IGNORED) -> Manifest:
    """Returns the manifest of all files below a folder except ignored ones, sorted by the parts of their paths.

    Raises:
        InputError: a file cannot be read, is not a regular file, or has a name that is not UTF-8; or no files.
    """
    try:
        paths = {_utf8(path.relative_to(folder).as_posix()): path for path in _files(folder, ignored)}
        digests = {name: _digest(paths[name]) for name in sorted(paths, key=lambda name: PurePosixPath(name).parts)}
    except OSError as problem:
        raise InputError(f"{problem.filename or folder} cannot be read: {problem.strerror}") from None
    if not digests:
        raise InputError(f"{folder} contains no files", "pass the folder of a model")
    return Manifest(_utf8(folder.resolve().name), digests, tuple(sorted(ignored)))


def from_json(payload: bytes, source: Path) -> Manifest:
    """Parses a statement whose signature is verified; `source` is the signature file, for errors.

    Raises:
        ModelFileError: it is of another type or version, lists files by an unknown method, or is inconsistent.
    """
    try:
        raw = json.loads(payload.decode("utf-8"))
        kinds = raw["_type"], raw["predicateType"]
        if kinds != (STATEMENT_TYPE, PREDICATE_TYPE):
            raise ModelFileError(f"{source} does not sign a model's files: {_short(kinds[1])}", _NEWER)
        serialization, (subject,) = raw["predicate"]["serialization"], raw["subject"]
        method = serialization["method"], serialization["hash_type"]
        if method != ("files", "sha256"):
            raise ModelFileError(f"{source} lists the model by {_short(method[0])} and {_short(method[1])}", _NEWER)
        digests = _digests(raw["predicate"]["resources"])
        ignored = tuple(_name(each) for each in serialization.get("ignore_paths", ()))
        if not digests or subject["digest"]["sha256"] != _root(digests):
            raise ValueError
        return Manifest(str(subject["name"]), digests, ignored)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        what = f"{source} does not sign a valid list of files"
        raise ModelFileError(what, "sign the model again: mlcycle model sign") from None


def must_be_file(signed: Manifest, sha256: str, path: Path, source: Path) -> None:
    """Raises ModelFileError unless the signed manifest is one file with this digest and this name.

    `source` is the signature file.
    """
    if len(signed.digests) > 1:
        raise ModelFileError(f"{source} signs a folder of {len(signed.digests)} files", f"{path} is a file; sign it")
    [(name, digest)] = signed.digests.items()
    name = signed.name if name == ITSELF else name
    if name != path.name:
        # One key may sign several models; one of them must not pass for another.
        raise ModelFileError(f"{path} was signed under another name: {_short(name)}", "rename it to that name")
    if digest != sha256:
        raise ModelFileError(
            f"{path} is not the signed file: its sha256 is {sha256}, and {source} signs {digest}",
            "do not use it; fetch file and signature again from their source",
        )


def must_be_folder(signed: Manifest, folder: Path, source: Path) -> None:
    """Raises ModelFileError if the folder's name or files are not the signed ones, or cannot be read.

    `source` is the signature file, which may be in the folder.
    """
    if signed.name != folder.resolve().name:  # as for a file
        raise ModelFileError(f"{folder} was signed under another name: {_short(signed.name)}", "rename it to that name")
    ignored = {*(signed.ignored or IGNORED)}
    if source.resolve().is_relative_to(folder.resolve()):
        ignored.add(source.resolve().relative_to(folder.resolve()).as_posix())
    try:
        found = of_folder(folder, ignored).digests
    except InputError as problem:
        raise ModelFileError(problem.message, problem.hint) from None
    differences = [
        *(f"{name} is missing" for name in signed.digests if name not in found),
        *(f"{name} was not signed" for name in found if name not in signed.digests),
        *(f"{name} was changed" for name in found if signed.digests.get(name, found[name]) != found[name]),
    ]
    if differences:
        more = f", and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise ModelFileError(
            f"{folder} is not the signed folder: {', '.join(differences[:3])}{more}",
            "do not use it; fetch folder and signature again from their source",
        )


def _files(folder: Path, ignored: Collection[str]) -> Iterator[Path]:
    for above, folders, names in os.walk(folder, onerror=_refuse):
        here = Path(above)
        for name in (*folders, *names):
            path = here / name
            if path.relative_to(folder).as_posix() in ignored:
                if name in folders:
                    folders.remove(name)
                continue
            mode = path.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                what = "a link" if stat.S_ISLNK(mode) else "not a file"
                raise InputError(f"{path} is {what}, and only files can be signed", "remove it from the folder")
            if stat.S_ISREG(mode):
                yield path


def _refuse(problem: OSError) -> None:
    raise problem


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _root(digests: dict[str, str]) -> str:
    return hashlib.sha256(b"".join(bytes.fromhex(each) for each in digests.values())).hexdigest()


def _digests(resources: list[dict[str, Any]]) -> dict[str, str]:
    digests: dict[str, str] = {}
    for each in resources:
        name = each["name"] if each["name"] == ITSELF else _name(each["name"])
        digest = bytes.fromhex(each["digest"])
        if name in digests or each["algorithm"] != "sha256" or len(digest) != 32:
            raise ValueError
        digests[name] = digest.hex()
    if ITSELF in digests and len(digests) > 1:
        raise ValueError
    return digests


def _name(text: str) -> str:
    """Returns a canonical path that stays below its folder; raises ValueError for others."""
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or str(path) != text or text == ITSELF or "\0" in text:
        raise ValueError
    return text


def _utf8(name: str) -> str:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"the name {name!a} is not UTF-8 and cannot be signed", "rename it") from None
    return name


def _short(text: object) -> str:
    return ascii(str(text)[:80])
