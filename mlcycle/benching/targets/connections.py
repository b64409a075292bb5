"""Keep-alive connections to one HTTP server, one for each thread."""

from __future__ import annotations

import http.client
import ipaddress
import select
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from mlcycle.errors import UsageError

# A server that says nothing for so long is not measured any more.
TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens: scheme (http or https), host, port, and the path before its endpoints, or ""."""

    scheme: str
    host: str
    port: int | None
    path: str

    @property
    def is_loopback(self) -> bool:
        """Returns whether the server is on this machine, as far as its name says."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response: status, headers by lower-case name, body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def address_of(url: str) -> Address:
    """Parses the URL of a server, such as http://127.0.0.1:8000.

    Raises:
        UsageError: it is not one.
    """
    try:
        parts = urlsplit(url)
        address = Address(parts.scheme, parts.hostname or "", parts.port, parts.path.rstrip("/"))
        valid = parts.scheme in ("http", "https") and parts.hostname and not (parts.query or parts.fragment)
    except ValueError:
        valid = False
    if not valid or parts.username is not None:
        raise UsageError(f"{url!r} is not the URL of a server", "pass one such as --url http://127.0.0.1:8000")
    return address


class Connections:
    """Sends requests over connections that stay open; several threads may use it at once."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._own = threading.local()
        self._all: list[http.client.HTTPConnection] = []

    def request(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> Response:
        """Sends a request and returns the response; opens a connection if the thread has none.

        Raises:
            OSError: the connection failed, or timed out (TimeoutError).
            http.client.HTTPException: the response is not HTTP.
        """
        connection = self._connection()
        try:
            connection.request(method, self._address.path + path, body, dict(headers))
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            raise
        return Response(response.status, {name.lower(): value for name, value in response.getheaders()}, content)

    def close(self) -> None:
        """Closes all connections."""
        for connection in self._all:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        found: http.client.HTTPConnection | None = getattr(self._own, "connection", None)
        if found is None:
            kind = http.client.HTTPSConnection if self._address.scheme == "https" else http.client.HTTPConnection
            found = self._own.connection = kind(self._address.host, self._address.port, timeout=TIMEOUT_SECONDS)
            self._all.append(found)
        elif found.sock is not None and _has_ended(found):
            found.close()  # it is opened again by the next request
        return found


def _has_ended(connection: http.client.HTTPConnection) -> bool:
    """Returns whether the server has closed an idle connection: it is readable although nothing was asked."""
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))
