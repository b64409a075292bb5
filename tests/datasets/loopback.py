"""A small file server on the loopback address with configurable faults; it serves a limited number of requests."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MAX_REQUESTS = 60


@dataclass
class Server:
    """The files to serve, and the faults.

    The first `breaks` responses end after `break_after` bytes; the first `busy` requests get status 503; `ranges` says
    whether range requests are supported. `requests` records name, Range and If-Range of each request.
    """

    files: dict[str, bytes]
    url: str = ""
    ranges: bool = True
    break_after: int = 0
    breaks: int = 0
    busy: int = 0
    requests: list[tuple[str, str | None, str | None]] = field(default_factory=list)

    def tag(self, name: str) -> str:
        return f'"{hashlib.sha256(self.files[name]).hexdigest()[:16]}"'


@contextmanager
def serve(files: dict[str, bytes], **behaviour: int | bool) -> Iterator[Server]:
    """Serves files on 127.0.0.1 while the block runs."""
    server = Server(files, **behaviour)  # type: ignore[arg-type]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _respond(server, self)

        def log_message(self, *arguments: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    server.url = f"http://127.0.0.1:{listening.server_port}"
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join(5)


def _respond(server: Server, handler: BaseHTTPRequestHandler) -> None:
    name = handler.path.lstrip("/")
    requested_range, condition = handler.headers.get("Range"), handler.headers.get("If-Range")
    server.requests.append((name, requested_range, condition))
    if len(server.requests) > MAX_REQUESTS or name not in server.files:
        handler.send_error(404)
        return
    if server.busy:
        server.busy -= 1
        handler.send_error(503)
        return
    data, start = server.files[name], 0
    if server.ranges and requested_range and condition in (None, server.tag(name)):
        start = int(requested_range.removeprefix("bytes=").rstrip("-"))
        if start >= len(data):
            handler.send_error(416)
            return
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
    else:
        handler.send_response(200)
    handler.send_header("Content-Length", str(len(data) - start))
    handler.send_header("ETag", server.tag(name))
    handler.end_headers()
    _send(server, handler, data[start:])


def _send(server: Server, handler: BaseHTTPRequestHandler, rest: bytes) -> None:
    if server.breaks:
        server.breaks -= 1
        rest = rest[: server.break_after]
    handler.wfile.write(rest)
    handler.wfile.flush()
    handler.close_connection = True
