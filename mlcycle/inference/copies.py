"""Copies of photographs: where they go, and how they are written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from PIL import Image

JPEG_QUALITY = 92
_JPEG = {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"}


def plan(keys: list[str], folder: Path, *, folders: bool = False) -> list[Path]:
    """Returns where below `folder` each photograph's copy goes; no two share a name.

    The tree is kept, and so are names. What is neither JPEG nor PNG becomes PNG: a.tif → a.tif.png; with `folders` a
    copy is a folder that is called as the photograph, and each name stays as it is. Names that would meet, also on file
    systems that do not tell a from A, are numbered: a-2.jpg. None can climb out of the folder.
    """
    taken: set[str] = set()
    paths = []
    for key in keys:
        name = _below(key) if folders else _name(key)
        suffix = Path(name).suffix
        stem = name.removesuffix(suffix)
        number = 1
        while name.lower() in taken:
            number += 1
            name = f"{stem}-{number}{suffix}"
        taken.add(name.lower())
        paths.append(folder / name)
    return paths


def _name(key: str) -> str:
    name = _below(key)
    return name if Path(key).suffix.lower() in {*_JPEG, ".png"} else name + ".png"


def _below(key: str) -> str:
    path = Path(key)
    return "/".join(part for part in path.parts if part not in ("..", path.anchor)) or "photograph"


def save(image: Image.Image, path: Path, *, overwrite: bool = False) -> None:
    """Writes a picture without metadata: whole or not at all, and over another file only if told so.

    Raises:
        FileExistsError: the file is there, and `overwrite` is off.
        OSError: it cannot be written.
    """
    image = image.copy()
    image.info.clear()  # Pillow would write a JPEG's comment and a PNG's colour profile again
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=".mlcycle-", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            if path.suffix.lower() == ".png":
                image.save(file, "PNG", compress_level=3)
            else:
                image.save(file, "JPEG", quality=JPEG_QUALITY)
        Path(temporary).chmod(0o666 & ~_umask())
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path} exists")
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _umask() -> int:
    # The only way to ask is to set it; threads of ours write no files meanwhile.
    mask = os.umask(0)
    os.umask(mask)
    return mask
