"""A server of `mlcycle serve`, to which images are posted."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from mlcycle.benching import machine
from mlcycle.benching.sending.outcome import QUEUE, REJECTED, Outcome
from mlcycle.benching.targets.connections import Address, Connections, Response
from mlcycle.benching.targets.description import Description
from mlcycle.benching.targets.target import SERVER
from mlcycle.errors import DeviceError, InputError, UsageError

if TYPE_CHECKING:
    from mlcycle.benching.bench_images import ImageSet

DETECT, MODEL = "/v1/detect", "/v1/model"
BINARY = {"Content-Type": "application/octet-stream"}
STAGES = (QUEUE, "decode", "resize", "run", "select")
# For how long a request kept a worker busy: these stages and what is between them.
WORKER = "worker"
# The rest of the round trip: sending, HTTP on both sides, receiving.
NETWORK = "network"


class Server:
    """A server and the images that it is sent."""

    kind = SERVER

    def __init__(self, connections: Connections, token: str, images: ImageSet, *, is_loopback: bool) -> None:
        self._connections, self._images = connections, images
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.description = self._described()
        # A tunnel from the loopback to another machine is told by its processor.
        here = machine.describe()
        self.is_here = is_loopback and all(self.description.machine[key] == here[key] for key in ("cpu", "system"))

    def detect(self, number: int) -> Outcome:
        """Sends an image and returns what the server made of it."""
        begin = perf_counter()
        try:
            data = self._images.paths[number % len(self._images.paths)].read_bytes()
        except OSError:
            return Outcome("unreadable")
        try:
            response = self._connections.request("POST", DETECT, self._headers | BINARY, data)
        except TimeoutError:
            return Outcome("timeout", answered=False)
        except (OSError, http.client.HTTPException):
            return Outcome("connection", answered=False)
        if response.status != 200:
            return _failure(response)
        try:
            record = json.loads(response.body)
            pixels = record["image"]["width"] * record["image"]["height"]
        except (ValueError, TypeError, KeyError):
            return Outcome("not-a-record", answered=False)
        return _completed(response, pixels, (perf_counter() - begin) * 1000)

    def cold_start_command(self, image: Path) -> None:
        """Returns None: a server has started already."""

    def _described(self) -> Description:
        try:
            response = self._connections.request("GET", MODEL, self._headers)
        except (OSError, http.client.HTTPException) as problem:
            raise DeviceError(f"no server answers at --url: {problem}", "start one: mlcycle serve") from None
        if response.status in (401, 403):
            raise UsageError("the server requires another token", "pass the file with its token: --token-file FILE")
        if response.status >= 500:
            raise DeviceError(f"the server is not ready: it answered {response.status}", "try again later")
        try:
            return _description(json.loads(response.body))
        except (ValueError, TypeError, KeyError):
            raise UsageError(
                f"the server does not describe its model at {MODEL}", "pass the URL of a server of mlcycle serve"
            ) from None


@contextmanager
def opened(address: Address, token_file: Path | None, images: ImageSet) -> Iterator[Server]:
    """Yields a server that has described itself; its connections are closed after the block.

    Raises:
        DeviceError: it does not answer, or is not ready.
        UsageError: it requires another token, or is not a server of mlcycle.
        InputError: the token file cannot be read.
    """
    connections = Connections(address)
    try:
        yield Server(connections, _token(token_file), images, is_loopback=address.is_loopback)
    finally:
        connections.close()


def _token(file: Path | None) -> str:
    if file is None:
        return ""
    try:
        token = file.read_text("ascii").strip()
    except OSError as problem:
        raise InputError(f"the token file {file} cannot be read: {problem.strerror}") from None
    except UnicodeDecodeError:
        token = ""
    if not token or len(token.split()) > 1:
        raise InputError(
            f"the token file {file} does not contain one token", "write the token into it, and nothing else"
        )
    return token


def _completed(response: Response, pixels: int, round_trip_ms: float) -> Outcome:
    """Returns a completed request with the server's own stages."""
    stages = server_timing(response.headers.get("server-timing", ""))
    work_ms = stages.pop(WORKER, None)
    if not stages:
        return Outcome(pixels=pixels)
    known = sum(stages.values()) if work_ms is None else stages.get(QUEUE, 0.0) + work_ms
    stages[NETWORK] = max(0.0, round_trip_ms - known)
    return Outcome(stages=stages, work_ms=work_ms, pixels=pixels)


def server_timing(header: str) -> dict[str, float]:
    """Returns the milliseconds of STAGES and WORKER, as far as the header Server-Timing has them."""
    found = dict(re.findall(r'([\w-]+)\s*;[^,]*?\bdur="?([0-9]+(?:\.[0-9]+)?)', header))
    return {stage: float(found[stage]) for stage in (*STAGES, WORKER) if stage in found}


def _failure(response: Response) -> Outcome:
    if response.status == 503:
        return Outcome(REJECTED, answered=False)
    return Outcome(_code(response), answered=response.status < 500)


def _code(response: Response) -> str:
    """Returns the code of the error in a response, or one made of its status."""
    try:
        code = json.loads(response.body)["error"]["code"]
    except (ValueError, TypeError, KeyError):
        code = None
    return code if isinstance(code, str) and code else f"http-{response.status}"


def _description(values: dict[str, Any]) -> Description:
    return Description(
        name=str(values["name"]),
        sha256=str(values["sha256"]),
        provider=str(values["provider"]),
        threads=None if values["threads"] is None else int(values["threads"]),
        workers=int(values["workers"]),
        queue=int(values["queue"]),
        machine={key: values["machine"][key] for key in ("cpu", "cores", "system")},
    )
