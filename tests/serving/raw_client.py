"""A client that sends exactly the given bytes, valid HTTP or not, and reads what comes back."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable
from typing import Any

from live_server import LiveServer, Reply

HOST = b"Host: localhost\r\n"


class RawClient:
    """A connection.

    Args:
        receive_bytes: of the system's buffer for what the client has not read yet; None for the usual size.
    """

    def __init__(
        self,
        server: LiveServer,
        *,
        timeout: float = 20,
        receive_bytes: int | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
        self.socket: Any = socket.socket(family, socket.SOCK_STREAM)
        if receive_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(timeout)
        self.socket.connect((server.host, server.port))
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()
        self.socket.close()

    def send(self, data: bytes | Iterable[bytes]) -> RawClient:
        for piece in [data] if isinstance(data, bytes) else data:
            self.socket.sendall(piece)
        return self

    def reply(self) -> Reply:
        """Reads one response, whose body has a stated length."""
        status = self._file.readline().split()
        if not status:
            raise ConnectionError("closed without a response")
        headers: dict[str, str] = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        return Reply(int(status[1]), self._file.read(int(headers.get("content-length", 0))), headers)

    def is_closed(self) -> bool:
        """Waits until the server closes the connection, for at most the client's timeout; drops what comes before."""
        try:
            while self._file.read(1 << 16):
                pass
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        return True


def post(path: str, body: bytes, *headers: str) -> bytes:
    """Returns a request with a body."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def get(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: localhost", *headers]).encode() + b"\r\n\r\n"
