"""A connection that is closed so that the client sees the last response, and that no client can keep open."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

# Seconds that the rest of a request is received for after its response, and dropped: closing at once would reset the
# connection, and most clients would then not see the response.
LINGER_SECONDS = 2.0


class LingeringTransport:
    """A transport of asyncio whose `close` waits for the client, for a limited time.

    Args:
        transport: of asyncio.
        seconds: for all that was written to be taken by the client.
        is_receiving: whether the client may still be sending a request.
    """

    def __init__(
        self, transport: Any, loop: asyncio.AbstractEventLoop, seconds: float, is_receiving: Callable[[], bool]
    ) -> None:
        self._transport, self._loop, self._seconds, self._is_receiving = transport, loop, seconds, is_receiving
        self._aborting: asyncio.TimerHandle | None = None
        self.has_closed = False
        self.write: Callable[[bytes], None] = transport.write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self.has_closed or self._transport.is_closing()

    def close(self) -> None:
        """Closes the connection after what was written; while the client is sending, after its end or a short time."""
        if self.has_closed:
            return
        self.has_closed = True
        self.must_be_taken()
        if not self._is_receiving() or self._transport.is_closing():
            self._transport.close()
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._transport.resume_reading()
        self._loop.call_later(LINGER_SECONDS, self._transport.close)

    def must_be_taken(self) -> None:
        """Drops the connection unless the client takes in time what was written."""
        if self._aborting is None:
            self._aborting = self._loop.call_later(self._seconds, self._transport.abort)

    def is_taken(self) -> None:
        """Says that the client has taken enough, or that the connection is lost."""
        if self._aborting is not None:
            self._aborting.cancel()
            self._aborting = None
