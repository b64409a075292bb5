"""Unpacks a zip archive into a folder: no file is written outside of it, and none appears half written."""

from __future__ import annotations

import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from mlcycle import files
from mlcycle.errors import InputError

MAX_FILES = 500_000
# Images hardly shrink in a zip; an archive that grows a hundredfold is a zip bomb.
MAX_GROWTH = 100
SMALL = 64 << 20


def unpack(
    archive: Path,
    folder: Path,
    *,
    within: str,
    is_safe: Callable[[str], bool],
    advance: Callable[[int], None] = lambda n: None,
) -> int:
    """Unpacks to a temporary sibling folder, moves the files to their places and returns their number.

    Args:
        archive: a zip file.
        folder: to unpack to; files of the same names are replaced.
        within: unpack only files below this folder of the archive, without its name; "" unpacks everything.
        is_safe: returns whether a name in the archive stays below `folder`.
        advance: called with 1 after each file.

    Raises:
        InputError: the archive is not a zip file, is damaged, or has an unsafe name or size.
    """
    folder.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=folder))
    try:
        with files.attributed(folder, "choose another folder, and fetch again"), zipfile.ZipFile(archive) as file:
            chosen = _choose(file, archive, within, is_safe)
            for entry, name in chosen:
                _extract(file, entry, temporary / name)
                advance(1)
            for _, name in chosen:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (temporary / name).replace(folder / name)
        return len(chosen)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as problem:
        # zipfile raises the last two for an unknown compression and for an encrypted file.
        raise InputError(f"{archive} cannot be unpacked: {problem}", f"remove {archive} and fetch it again") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _choose(
    file: zipfile.ZipFile, archive: Path, within: str, is_safe: Callable[[str], bool]
) -> list[tuple[zipfile.ZipInfo, str]]:
    entries = [entry for entry in file.infolist() if not entry.is_dir() and not entry.filename.startswith("__MACOSX/")]
    size = sum(entry.file_size for entry in entries)
    if len(entries) > MAX_FILES or size > max(SMALL, MAX_GROWTH * archive.stat().st_size):
        raise InputError(f"{archive} would unpack to {len(entries):,} files of {size:,} bytes", "do not trust it")
    for entry in entries:
        if not is_safe(entry.filename) or stat.S_ISLNK(entry.external_attr >> 16):
            raise InputError(
                f"{archive} has a file that would be written elsewhere: {entry.filename!r}", "do not trust it"
            )
    prefix = f"{within}/" if within else ""
    chosen = [(entry, entry.filename.removeprefix(prefix)) for entry in entries if entry.filename.startswith(prefix)]
    if not chosen:
        raise InputError(f"{archive} has no folder {within}", "the published file has changed; see --manifest")
    return chosen


def _extract(file: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with file.open(entry) as source, target.open("xb") as out:
        shutil.copyfileobj(source, out, 1 << 20)
