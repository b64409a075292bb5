"""Downloads one file over HTTP: resumes, retries, and puts the file in place only when it is complete."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from ssl import SSLCertVerificationError
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from mlcycle import files
from mlcycle.errors import InputError

CHUNK = 1 << 20
LOOPBACK = ("127.0.0.1", "localhost", "::1")
# Worth a retry: the server is busy or broken for a while.
RETRIED = (408, 425, 429, 500, 502, 503, 504)

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a download without progress is retried, and how long to wait, in seconds.

    The wait doubles from `first_wait` with every try; a try that receives any bytes resets the count.
    """

    tries: int = 6
    first_wait: float = 1.0
    timeout: float = 60.0


class _InterruptedError(Exception):
    """The connection ended, or the server is busy; the bytes received so far are kept."""


def download(
    url: str,
    path: Path,
    *,
    size: int | None = None,
    trusted: bool = False,
    advance: Progress = lambda n: None,
    retries: Retries | None = None,
) -> None:
    """Downloads a file to `path` via `path` + ".part", which a later call resumes.

    Args:
        url: https, or http if the file's checksum is known or the server is this machine.
        path: of the complete file.
        size: in bytes, if known; a file of another size is refused.
        trusted: the caller compares the file with a checksum afterwards.
        advance: called with the number of bytes received; negative if the download starts again.
        retries: how often to retry, and how long to wait.

    Raises:
        InputError: the address cannot be fetched, or the connection keeps failing.
    """
    retries = retries or Retries()
    _check_address(url, trusted)
    part = path.with_name(path.name + ".part")
    advance(_length(part))
    tried = 0
    while True:
        before = _length(part)
        try:
            _fetch_rest(url, part, size, advance, retries.timeout)
            break
        except _InterruptedError as problem:
            tried = 1 if _length(part) > before else tried + 1
            if tried >= retries.tries:
                hint = "run the same command again: it resumes where it stopped"
                raise InputError(f"{url} cannot be fetched: {problem}", hint) from None
            time.sleep(min(60.0, retries.first_wait * 2 ** (tried - 1)))
    part.replace(path)
    _tag_file(part).unlink(missing_ok=True)


def digest_file(path: Path) -> str:
    """Returns the sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_address(url: str, trusted: bool) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and (trusted or parts.hostname in LOOPBACK)):
        return
    raise InputError(
        f"{url} is not https, and without a checksum the file cannot be verified",
        "give its checksum with --sha256 NAME=HEX",
    )


def _fetch_rest(url: str, part: Path, size: int | None, advance: Progress, timeout: float) -> None:
    have = _length(part)
    if size is not None and have == size:
        return
    if size is not None and have > size:
        have = _start_again(part, have, advance)
    try:
        with urlopen(_request(url, part, have), timeout=timeout) as response:
            if have and response.status != 206:
                # The server does not support ranges, or the file has changed since: the response is the whole file.
                have = _start_again(part, have, advance)
            whole = _whole_length(response, have)
            _check_size(url, whole, size)
            whole = size if whole is None else whole
            if not have:
                _remember_tag(part, response)
            _append(response, part, advance)
    except HTTPError as problem:
        _raise_for_status(problem, url, part, have, advance)
    except (URLError, OSError, HTTPException) as problem:
        if isinstance(getattr(problem, "reason", None), SSLCertVerificationError):
            raise InputError(f"{url} has no valid certificate", "is a proxy in between? see --mirror") from None
        raise _InterruptedError(str(getattr(problem, "reason", "")) or str(problem) or type(problem).__name__) from None
    if whole is not None and _length(part) < whole:
        raise _InterruptedError("the connection ended too early")


def _request(url: str, part: Path, have: int) -> Request:
    headers = {"User-Agent": "mlcycle", "Accept-Encoding": "identity"}
    tag = _tag_file(part)
    if have:
        headers["Range"] = f"bytes={have}-"
        if tag.is_file():
            headers["If-Range"] = tag.read_text("utf-8")
    return Request(url, headers=headers)


def _whole_length(response: HTTPResponse, have: int) -> int | None:
    total = (response.headers.get("Content-Range") or "").rpartition("/")[2]
    if have and total.isdigit():
        return int(total)
    length = response.headers.get("Content-Length") or ""
    return have + int(length) if length.isdigit() else None


def _check_size(url: str, whole: int | None, size: int | None) -> None:
    if size is not None and whole is not None and whole != size:
        raise InputError(
            f"{url} has {whole:,} bytes, where {size:,} are expected",
            "the published file has changed, or the mirror has another one; see --manifest",
        )


def _append(response: HTTPResponse, part: Path, advance: Progress) -> None:
    with part.open("ab") as file:
        while chunk := response.read(CHUNK):
            with files.attributed(part, "choose another folder, and fetch again"):
                file.write(chunk)
            advance(len(chunk))


def _raise_for_status(problem: HTTPError, url: str, part: Path, have: int, advance: Progress) -> None:
    if problem.code == 416 and have:
        _start_again(part, have, advance)
        raise _InterruptedError("the bytes received before are not part of the file any more") from None
    if problem.code in RETRIED:
        raise _InterruptedError(f"the server returned {problem.code} {problem.reason}") from None
    hint = "is the address right? --mirror takes another"
    raise InputError(f"{url} cannot be fetched: the server returned {problem.code} {problem.reason}", hint) from None


def _start_again(part: Path, have: int, advance: Progress) -> int:
    part.unlink(missing_ok=True)
    _tag_file(part).unlink(missing_ok=True)
    advance(-have)
    return 0


def _remember_tag(part: Path, response: HTTPResponse) -> None:
    """Stores the strong ETag or date of this version of the file, so that a later range request gets the same one."""
    tag = response.headers.get("ETag") or ""
    if tag.startswith('"'):
        _tag_file(part).write_text(tag, "utf-8")
    elif modified := response.headers.get("Last-Modified"):
        _tag_file(part).write_text(modified, "utf-8")


def _tag_file(part: Path) -> Path:
    return part.with_name(part.name + ".etag")


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
