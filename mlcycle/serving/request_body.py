"""Reads the body of a request into memory within the server's limits; nothing of it is written to a disk."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.requests import Request

from mlcycle.serving import multipart
from mlcycle.serving.problems import RequestError
from mlcycle.serving.settings import ServerSettings


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
            raise RequestError(503, "overloaded", message, headers={"retry-after": "1"})
        self._held.size += size
        self.size += size


async def read_body(request: Request, settings: ServerSettings, hold: Hold) -> bytes:
    """Returns the body of a request.

    What has arrived is held, not what is announced: a few requests that announce much and send nothing would keep
    others out.

    Raises:
        RequestError: 408 too slow, 413 too large, 415 compressed, 503 no memory.
        ClientDisconnect: the client has gone.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RequestError(415, "unsupported", "a compressed body is not supported")
    announced = request.headers.get("content-length", "")
    if len(announced) > 18 or (announced.isdecimal() and int(announced) > settings.max_body_bytes):
        raise _too_large(settings)
    chunks: list[bytes] = []
    try:
        async with asyncio.timeout(settings.body_seconds):
            async for chunk in request.stream():
                if hold.size + len(chunk) > settings.max_body_bytes:
                    raise _too_large(settings)
                hold.add(len(chunk))
                chunks.append(chunk)
    except TimeoutError:
        message = f"the body did not arrive within {settings.body_seconds:g} seconds"
        raise RequestError(408, "too-slow", message) from None
    return b"".join(chunks)


async def read_files(request: Request, settings: ServerSettings, hold: Hold) -> list[tuple[str, bytes]]:
    """Returns the name and the bytes of each file in a multipart body; errors as read_body and multipart.files_of."""
    body = await read_body(request, settings, hold)
    files = multipart.files_of(body, request.headers.get("content-type", ""))
    return [(name or f"image {number}", data) for number, (name, data) in enumerate(files, 1)]


def _too_large(settings: ServerSettings) -> RequestError:
    return RequestError(413, "too-large", f"the body has more than {settings.max_body_bytes:,} bytes")
