"""Conductor of `mlcycle data fetch`: downloads, verifies and unpacks one archive after the other."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from mlcycle import files
from mlcycle.counted import counted
from mlcycle.datasets.fetch.download import Retries, digest_file, download
from mlcycle.datasets.fetch.manifest import Archive, Manifest, is_safe_name
from mlcycle.datasets.fetch.unpacking import unpack
from mlcycle.errors import InputError

DOWNLOADS = "downloads"

Progress = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]
Say = Callable[[str], None]


def fetch(
    manifest: Manifest,
    folder: Path,
    *,
    progress: Progress,
    say: Say = lambda text: None,
    retries: Retries | None = None,
) -> list[tuple[str, str]]:
    """Fetches a data set into a folder; the archives stay in its downloads/, each with a .sha256 file.

    Archives that are complete are not downloaded again, and archives that are unpacked are not unpacked again.

    Args:
        manifest: what to fetch.
        folder: where to.
        progress: opens a progress bar for a description and a total, and yields the function that advances it.
        say: prints a message.
        retries: how often a download is retried, and how long to wait.

    Returns the name and the sha256 of each archive.

    Raises:
        InputError: an archive cannot be fetched, written or unpacked, or has another checksum; such a file is renamed
            to NAME.wrong.
    """
    fetched = []
    for archive in manifest.archives:
        digest = _fetch_archive(archive, folder / DOWNLOADS, progress, say, retries)
        _unpack_once(archive, folder, digest, progress, say)
        fetched.append((archive.name, digest))
    return fetched


def _fetch_archive(archive: Archive, downloads: Path, progress: Progress, say: Say, retries: Retries | None) -> str:
    path = downloads / archive.name
    with files.attributed(path, "choose another folder, and fetch again"):
        downloads.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            say(f"{archive.name} is downloaded already")
        else:
            say(f"fetching {archive.url}")
            with progress(archive.name, archive.size) as advance:
                download(
                    archive.url,
                    path,
                    size=archive.size,
                    trusted=bool(archive.sha256),
                    advance=advance,
                    retries=retries,
                )
        digest = digest_file(path)
        _compare(archive, path, digest)
        files.write(path.with_name(f"{path.name}.sha256"), f"{digest}  {path.name}\n", overwrite=True)
    return digest


def _compare(archive: Archive, path: Path, digest: str) -> None:
    if archive.sha256 in ("", digest):
        return
    aside = path.with_name(f"{path.name}.wrong")
    path.replace(aside)
    raise InputError(
        f"{archive.name} has the sha256 {digest}, where {archive.sha256} is expected",
        f"it was renamed to {aside}; run the command again to download it again, or see --manifest",
    )


def _unpack_once(archive: Archive, folder: Path, digest: str, progress: Progress, say: Say) -> None:
    mark = folder / DOWNLOADS / f"{archive.name}.unpacked"
    made = not archive.makes or (folder / archive.makes).exists()
    if made and mark.is_file() and mark.read_text("utf-8").strip() == digest:
        say(f"{archive.name} is unpacked already")
        return
    with progress(f"unpacking {archive.name}", None) as advance:
        count = unpack(
            folder / DOWNLOADS / archive.name,
            folder / archive.into,
            within=archive.within,
            is_safe=is_safe_name,
            advance=advance,
        )
    files.write(mark, f"{digest}\n", overwrite=True)
    say(f"{archive.name}: {counted(count, 'file')} in {folder}")
