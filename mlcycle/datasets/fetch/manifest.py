"""The data sets of `mlcycle data fetch`: files, their addresses, sizes and checksums, and the license terms.

Sizes and sha256 of WIDER FACE are those in the Hugging Face repository of its authors' group; those of eval_tools.zip
are what several independent users of it have published.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from mlcycle.errors import UsageError
from mlcycle.plain_yaml import parse

SHA256 = re.compile(r"[0-9a-f]{64}")
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class Archive:
    """One zip file.

    Attributes:
        name: the file's name.
        url: where it is published.
        size: in bytes; None if not known.
        sha256: hex digest; "" if not known, then it is computed and written, but not compared.
        within: only files below this folder of the archive are unpacked; "" unpacks everything.
        into: the folder of the set to unpack to.
        makes: a path that exists once the archive is unpacked.
    """

    name: str
    url: str
    size: int | None = None
    sha256: str = ""
    within: str = ""
    into: str = ""
    makes: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A data set: its name, its terms as text, its archives."""

    name: str
    terms: str
    archives: tuple[Archive, ...]


_HUB = "https://huggingface.co/datasets/CUHK-CSE/wider_face/resolve/main/data"

WIDER_FACE = Manifest(
    name="wider-face",
    terms="""\
WIDER FACE: A Face Detection Benchmark (Yang, Luo, Loy, Tang; CVPR 2016)
http://shuoyang1213.me/WIDERFACE/

Its publishers license it under CC BY-NC-ND 4.0: attribution, no commercial use, no distribution of changed copies
(https://creativecommons.org/licenses/by-nc-nd/4.0/). The images were found on the web and belong to third parties;
they show people who did not agree to be in a data set. Whether a model that learnt from them may be used for a purpose
is for you to decide, with advice. Cite the paper if you publish results.""",
    archives=(
        Archive(
            "wider_face_split.zip",
            f"{_HUB}/wider_face_split.zip",
            3_591_642,
            "c7561e4f5e7a118c249e0a5c5c902b0de90bbf120d7da9fa28d99041f68a8a5c",
            makes="wider_face_split/wider_face_train_bbx_gt.txt",
        ),
        Archive(
            "eval_tools.zip",
            "http://shuoyang1213.me/WIDERFACE/support/eval_script/eval_tools.zip",
            8_447_003,
            "1cf49c8243fa8a1632efe7f6aa09fd7a3994ac838c9008bdbc9dd1d547bb234a",
            within="eval_tools/ground_truth",
            into="ground_truth",
            makes="ground_truth/wider_hard_val.mat",
        ),
        Archive(
            "WIDER_val.zip",
            f"{_HUB}/WIDER_val.zip",
            362_752_168,
            "f9efbd09f28c5d2d884be8c0eaef3967158c866a593fc36ab0413e4b2a58a17a",
            makes="WIDER_val/images",
        ),
        Archive(
            "WIDER_train.zip",
            f"{_HUB}/WIDER_train.zip",
            1_465_602_149,
            "e23b76129c825cafae8be944f65310b2e1ba1c76885afe732f179c41e5ed6d59",
            makes="WIDER_train/images",
        ),
    ),
)
KNOWN = {WIDER_FACE.name: WIDER_FACE}


def read_manifest(file: Path, base: Manifest) -> Manifest:
    """Changes a manifest by a YAML file: `files:` maps names to url, size and sha256; anything else is unchanged.

    Raises:
        UsageError: the file cannot be read, or names a file or key that does not exist.
    """
    try:
        files = parse(file.read_text("utf-8"), f"the manifest {file}", UsageError).data["files"]
        changes = {str(name): dict(values) for name, values in files.items()}
    except (OSError, UnicodeDecodeError) as problem:
        raise UsageError(f"the manifest {file} cannot be read: {problem}") from None
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UsageError(f"the manifest {file} has another form", _FORM) from None
    return change(base, changes)


_FORM = "write: files: {WIDER_val.zip: {url: …, size: …, sha256: …}}"


def change(base: Manifest, changes: Mapping[str, Mapping[str, Any]]) -> Manifest:
    """Returns a manifest with other urls, sizes or checksums for some of its archives.

    Raises:
        UsageError: an archive or key does not exist, or a value is invalid.
    """
    names = [archive.name for archive in base.archives]
    for name, values in changes.items():
        if name not in names:
            raise UsageError(f"{base.name} has no file {name}", f"it has: {', '.join(names)}")
        _check_values(name, values)
    archives = tuple(replace(archive, **changes.get(archive.name, {})) for archive in base.archives)
    return replace(base, archives=archives)


def at_mirror(base: Manifest, mirror: str) -> Manifest:
    """Returns a manifest that fetches all its files from below one address."""
    root = mirror.rstrip("/")
    return replace(base, archives=tuple(replace(each, url=f"{root}/{each.name}") for each in base.archives))


def parse_checksums(texts: Sequence[str]) -> dict[str, dict[str, str]]:
    """Reads NAME=HEX of a command line into what `change` takes.

    Raises:
        UsageError: it has another form.
    """
    pairs = [text.partition("=") for text in texts]
    for text, (name, _, value) in zip(texts, pairs, strict=True):
        if not name or not SHA256.fullmatch(value.lower()):
            raise UsageError(f"--sha256 {text} is not a checksum", "write NAME=HEX, with 64 hexadecimal digits")
    return {name: {"sha256": value.lower()} for name, _, value in pairs}


def _check_values(name: str, values: Mapping[str, Any]) -> None:
    good = {
        "url": lambda value: isinstance(value, str) and value.startswith(("https://", "http://")),
        "size": lambda value: value is None or (isinstance(value, int) and value > 0),
        "sha256": lambda value: isinstance(value, str) and bool(SHA256.fullmatch(value) or not value),
    }
    for key, value in values.items():
        if key not in good:
            raise UsageError(f"{name}: no such key: {key}", "the keys are url, size and sha256")
        if not good[key](value):
            raise UsageError(f"{name}: {key} cannot be {value}", _FORM)


def is_safe_name(name: str) -> bool:
    """Returns whether a path in an archive stays below the folder it is unpacked to, on every system."""
    path = PurePosixPath(name)
    parts = name.rstrip("/").split("/")
    strange = any(part in ("", ".", "..") or set(part) & set('\\:*?"<>|\0') for part in parts)
    return not path.is_absolute() and not strange
