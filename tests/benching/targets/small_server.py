"""A small real HTTP server with the endpoints of `mlcycle serve` that `mlcycle bench --url` uses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from mlcycle.benching import machine
from mlcycle.inference.detect import Detector
from mlcycle.inference.record import Source

# The number of an image, from 1 → None, or the status and body of the response to it; 0 closes the connection.
Instead = Callable[[int], "tuple[int, bytes] | None"]


class SmallServer(ThreadingHTTPServer):
    """Detects faces in what is posted to /v1/detect; `instead` answers some requests in its place."""

    daemon_threads = True

    def __init__(self, detector: Detector, token: str = "", instead: Instead = lambda number: None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.detector, self.token, self.instead = detector, token, instead
        self.connections = self.images = 0
        self.machine = machine.describe()
        self.description: tuple[int, bytes] | None = None  # answered in place of the true one

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def running(server: SmallServer) -> Iterator[SmallServer]:
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: SmallServer

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_GET(self) -> None:
        assert self.path == "/v1/model"
        if self.server.token and self.headers["Authorization"] != f"Bearer {self.server.token}":
            return self._answer(401, b"{}")
        if self.server.description:
            return self._answer(*self.server.description)
        detector = self.server.detector
        described = {
            "name": "tiny",
            "sha256": detector.sha256,
            "provider": "cpu",
            "threads": 1,
            "workers": 3,
            "queue": 64,
        }
        return self._answer(200, json.dumps({**described, "machine": self.server.machine, "more": 1}).encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.path == "/v1/detect"
        assert not self.server.token or self.headers["Authorization"] == f"Bearer {self.server.token}"
        self.server.images += 1
        if (other := self.server.instead(self.server.images)) is not None:
            return self._answer(*other)
        source = Source(Path("image"), "image", data=body)
        record = self.server.detector.detect_batch([source])[0]
        if record.error:
            error = {"error": {"code": record.error[0], "message": record.error[1]}}
            return self._answer(415, json.dumps(error).encode())
        # Between the stages of a worker some time is in none of them.
        stages = {
            "queue": 1.5,
            "worker": sum(record.milliseconds.values()) + 0.5,
            **{name: record.milliseconds[name] for name in ("decode", "resize", "run", "select")},
        }
        timing = ", ".join(f"{stage};dur={milliseconds:.3f}" for stage, milliseconds in stages.items())
        return self._answer(200, json.dumps(record.as_dict()).encode(), f"cache;desc=miss, {timing}, total;dur=99")

    def _answer(self, status: int, body: bytes, timing: str = "") -> None:
        if status == 0:
            self.close_connection = True
            return
        self.send_response(status)
        if timing:
            self.send_header("Server-Timing", timing)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        """Logs nothing."""
