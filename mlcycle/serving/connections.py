"""One connection of a client, with limits on what it may hold: time, memory, and requests that wait.

uvicorn's protocol parses requests and runs the application. What is added here holds whatever the application does: a
client that is slow, never reads, sends too much, or sends what proxies read differently loses its connection, and no
other client notices.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from mlcycle.serving.lingering_transport import LingeringTransport
from mlcycle.serving.problems import RequestError

# The most bytes and headers of a request's head.
MAX_HEAD_BYTES, MAX_HEADERS = 1 << 16, 256
# Requests that a client may send before the first of them is answered. More end the connection after those.
MAX_PIPELINED = 32
_FRAMING = (b"content-length", b"transfer-encoding")


class Connection(HttpToolsProtocol):
    """uvicorn's HTTP protocol with limits.

    Attributes:
        seconds: for the head of a request to arrive, and for a response to be taken; bodies have their limit in
            request_body.
        max_connections: those beyond are closed at once.
    """

    seconds = 10.0
    max_connections = 4096

    _deadline: asyncio.TimerHandle | None = None
    _running: RequestResponseCycle | None = None  # uvicorn's own `cycle` is the last that has arrived
    _head_bytes = 0
    _is_in_head = False
    _is_replaying = False
    _is_deaf = False

    # The connection

    def connection_made(self, transport: Any) -> None:
        self._gently = LingeringTransport(transport, self.loop, self.seconds, self._is_receiving)
        super().connection_made(self._gently)  # type: ignore[arg-type]
        self._expect_head()
        if len(self.connections) > self.max_connections:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_head()
        self._gently.is_taken()
        if self._is_answering():
            self._leave(self._running)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Called when the client takes its response more slowly than it is written."""
        super().pause_writing()
        self._gently.must_be_taken()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self._gently.has_closed:
            self._gently.is_taken()

    # What arrives

    def data_received(self, data: bytes) -> None:
        if self._gently.has_closed or self._is_deaf:
            return
        self._unset_keepalive_if_required()
        if self._deadline is None and not self._is_answering():
            self._expect_head()
        rest = data
        while rest and not self._is_deaf:
            rest = self._feed(rest)
        if self._is_in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(_too_large())

    def _feed(self, data: bytes) -> bytes:
        """Parses data; returns the rest if the parser stopped before its end."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as stopped:
            return self._framing() + data[stopped.args[0] :]
        except httptools.HttpParserError as problem:
            cause = problem.__context__
            self._refuse(cause if isinstance(cause, RequestError) else _malformed("the request is not valid HTTP"))
        return b""

    def _framing(self) -> bytes:
        """Returns a head that makes the parser read the body of a request which asks for another protocol.

        None is spoken here, and so the wish is ignored, as RFC 9110 allows; Java's client has it in its first request.
        But the parser stops after such a head, and would take the body for the next request.
        """
        lines = [b"%s: %s\r\n" % header for header in self.headers if header[0] in _FRAMING]
        self._is_replaying = bool(lines)
        return b"POST / HTTP/1.1\r\n%s\r\n" % b"".join(lines) if lines else b""

    def on_message_begin(self) -> None:
        if not self._is_replaying:
            self._is_in_head, self._head_bytes = True, 0
            super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self._is_replaying:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_replaying:
            if len(self.headers) >= MAX_HEADERS:
                raise _too_large()
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._is_replaying:
            self._is_replaying = False
            return
        self._is_in_head = False
        self._forget_head()
        self._check_head()
        if len(self.pipeline) >= MAX_PIPELINED:
            raise _malformed(f"at most {MAX_PIPELINED} requests may wait on one connection")
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        if not (self.parser.should_upgrade() and any(name in _FRAMING for name, _ in self.headers)):
            super().on_message_complete()

    def _check_head(self) -> None:
        """Raises RequestError for what RFC 9112 has refused, because proxies may read it differently."""
        names = [name for name, _ in self.headers]
        if not self.url.startswith((b"/", b"*")):  # the whole address, whose host counts
            host = httptools.parse_url(self.url).host or b""
            others = [header for header in self.headers if header[0] != b"host"]
            self.headers[:] = [*others, (b"host", b"[%s]" % host if b":" in host else host)]
        elif names.count(b"host") > 1 or (self.parser.get_http_version() == "1.1" and b"host" not in names):
            raise _malformed("a request must have one Host header")
        for name, value in self.headers:
            if name == b"transfer-encoding" and value.lower() != b"chunked":
                raise _malformed("this transfer coding is not supported")

    # What is answered

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, _closing_if_early(cycle, app))

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._is_in_head and not self._is_answering():
            self._expect_head()

    def _refuse(self, problem: RequestError) -> None:
        """Ends the connection: after the responses to earlier requests, or else with an error."""
        self._is_deaf = True
        self._forget_head()
        while self.pipeline and self.pipeline[0][0].more_body:
            self.pipeline.popleft()
        last = self.pipeline[0][0] if self.pipeline else self._running
        if last is not None and not last.response_complete:
            if not last.more_body:
                last.keep_alive = False
                return
            self._leave(last)
        self.transport.write(_response(problem))
        self.transport.close()

    def _leave(self, cycle: RequestResponseCycle | None) -> None:
        """Tells the application that its client has gone."""
        if cycle is not None:
            cycle.disconnected = True
            cycle.message_event.set()

    def _is_answering(self) -> bool:
        return self._running is not None and not self._running.response_complete

    def _is_receiving(self) -> bool:
        return self._is_deaf or self._is_in_head or (self.cycle is not None and self.cycle.more_body)

    # The time for the head of a request

    def _expect_head(self) -> None:
        self._forget_head()
        if self._gently.has_closed or self._is_deaf:
            return
        self._deadline = self.loop.call_later(self.seconds, self._give_up_head)

    def _forget_head(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up_head(self) -> None:
        self._deadline = None
        if self._is_answering():  # of a further request: it has its time after this one
            return
        if self._is_in_head:
            self._refuse(RequestError(408, "too-slow", "the head of the request did not arrive in time"))
        else:
            self.transport.close()


def connection_class(seconds: float) -> type[Connection]:
    """Returns the class for uvicorn's setting `http`; `seconds` as in Connection."""
    return type("Connection", (Connection,), {"seconds": seconds, "max_connections": _max_connections()})


def _max_connections() -> int:
    """Returns how many connections leave file descriptors for what else the process opens."""
    try:
        import resource
    except ImportError:  # Windows
        return Connection.max_connections
    available, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(Connection.max_connections, max(available - 100, available // 2))


def _closing_if_early(cycle: RequestResponseCycle, app: Any) -> Any:
    """Returns the application; a response before the end of the request's body closes the connection.

    What else comes on it would be the rest of that body, and a client that stops sending it would hold the connection.
    """

    async def closing(scope: Any, receive: Any, send: Any) -> None:
        async def sent(message: Any) -> None:
            if cycle.more_body:
                cycle.keep_alive = False
            await send(message)

        await app(scope, receive, sent)

    return closing


def _response(problem: RequestError) -> bytes:
    body = json.dumps({"error": {"code": problem.code, "message": problem.message}}).encode()
    head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
    return STATUS_LINE[problem.status] + head + body


def _malformed(message: str) -> RequestError:
    return RequestError(400, "bad-request", message)


def _too_large() -> RequestError:
    message = f"the head of a request has at most {MAX_HEAD_BYTES:,} bytes and {MAX_HEADERS} headers"
    return RequestError(431, "too-large", message)
