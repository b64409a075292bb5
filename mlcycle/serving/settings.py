"""How a server behaves: its limits, and what it requires."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

# More than phones take; an image of this size needs half a gigabyte at most while it is decoded.
MAX_PIXELS = 50_000_000
# Bytes of a camera's largest JPEGs, with room to spare.
MAX_BODY_BYTES = 32 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """The limits of a server.

    Attributes:
        workers: threads that process images, each with one thread of the model.
        queue: images that may wait for a worker; more are rejected with 503.
        deadline_seconds: from the arrival of a request to the end of its work; what cannot be finished by then is not
            started.
        body_seconds: for the body of a request to arrive, and for a response to be taken.
        max_body_bytes: of one request.
        held_bytes: of all bodies that are held at once; more are rejected with 503.
        max_pixels: images with more pixels in their header are refused before they are decoded.
        token: that requests must carry, except those for the page and the health; "" for none.
        hosts: names by which the server may be addressed; () allows any.
        drain_seconds: how long the server goes on answering after it has reported that it is no longer ready.
    """

    workers: int
    queue: int = 64
    deadline_seconds: float = 10.0
    body_seconds: float = 10.0
    max_body_bytes: int = MAX_BODY_BYTES
    held_bytes: int = 8 * MAX_BODY_BYTES
    max_pixels: int = MAX_PIXELS
    token: str = field(default="", repr=False)
    hosts: tuple[str, ...] = ()
    drain_seconds: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Where a server listens.

    Attributes:
        host: a name or an address; the loopback unless chosen.
        port: 0 takes a free one.
        certificate, private_key: PEM files for TLS; None for plain HTTP.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    certificate: Path | None = None
    private_key: Path | None = None

    @property
    def scheme(self) -> str:
        return "https" if self.certificate else "http"

    def url(self, port: int) -> str:
        """Returns the server's address for people; `port` is the one in use."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{port}"
