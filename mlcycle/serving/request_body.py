"""Reads the body of a request into memory within the server's limits; nothing of it is written to a disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from mlcycle.serving.problems import RequestError
from mlcycle.serving.settings import MAX_MULTIPART_IMAGES, ServerSettings


class _InMemory(MultiPartParser):
    """Keeps the parts in memory: a temporary file would be a copy of a private image on a disk."""

    spool_max_size = 1 << 62


class HeldBytes:
    """The bytes of all bodies that the server holds; used by the event loop alone.

    Args:
        limit: bytes that may be held at once.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.size = limit, 0

    @contextmanager
    def hold(self) -> Iterator[Hold]:
        """Yields the account of one body, which is closed after the block."""
        own = Hold(self)
        try:
            yield own
        finally:
            self.size -= own.size


class Hold:
    """The bytes that one body holds."""

    def __init__(self, held: HeldBytes) -> None:
        self._held, self.size = held, 0

    def add(self, size: int) -> None:
        """Raises the answer 503 if the server cannot hold so many more bytes."""
        if self._held.size + size > self._held.limit:
            message = "the server holds too many large requests now"
            raise RequestError(503, "overloaded", message, headers={"retry-after": "1"}, closes=True)
        self._held.size += size
        self.size += size


async def read_body(request: Request, settings: ServerSettings, hold: Hold) -> bytes:
    """Returns the body of a request.

    Raises:
        RequestError: 408 too slow, 413 too large, 415 compressed, 503 no memory.
        ClientDisconnect: the client has gone.
    """
    chunks = [chunk async for chunk in _limited(request, settings, hold)]
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def read_parts(request: Request, settings: ServerSettings, hold: Hold) -> list[tuple[str, bytes]]:
    """Returns the name and the bytes of each file in a multipart body.

    Raises:
        RequestError: 400 malformed, or as read_body.
        ClientDisconnect: the client has gone.
    """
    stream = _limited(request, settings, hold)
    parser = _InMemory(request.headers, stream, max_files=MAX_MULTIPART_IMAGES, max_fields=MAX_MULTIPART_IMAGES)
    try:
        form = await parser.parse()
    except MultiPartException as problem:
        raise RequestError(400, "bad-request", f"the multipart body is malformed: {problem.message}") from None
    except (KeyError, ValueError, LookupError, UnicodeError):
        raise RequestError(400, "bad-request", "the multipart body is malformed") from None
    files = [each for _, each in form.multi_items() if isinstance(each, UploadFile)]
    if not files:
        raise RequestError(400, "bad-request", "the multipart body has no file")
    return [(each.filename or f"image {number}", await each.read()) for number, each in enumerate(files, 1)]


async def _limited(request: Request, settings: ServerSettings, hold: Hold) -> AsyncGenerator[bytes, None]:
    """Yields the chunks of a body; never longer than the limit, and never after the time for it."""
    if request.headers.get("content-encoding", "identity") != "identity":
        raise RequestError(415, "unsupported", "a compressed body is not supported", closes=True)
    stated = request.headers.get("content-length", "")
    if stated.isdecimal():
        _must_fit(int(stated), settings)
        hold.add(int(stated))
    size = 0
    try:
        async with asyncio.timeout(settings.body_seconds):
            async for chunk in request.stream():
                size += len(chunk)
                _must_fit(size, settings)
                if size > hold.size:
                    hold.add(size - hold.size)
                if chunk:
                    yield chunk
    except TimeoutError:
        message = f"the body did not arrive within {settings.body_seconds:g} seconds"
        raise RequestError(408, "too-slow", message, closes=True) from None


def _must_fit(size: int, settings: ServerSettings) -> None:
    if size > settings.max_body_bytes:
        message = f"the body has more than {settings.max_body_bytes:,} bytes"
        raise RequestError(413, "too-large", message, closes=True)


__all__ = ["ClientDisconnect", "HeldBytes", "Hold", "read_body", "read_parts"]
