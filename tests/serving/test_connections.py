"""The connection of a client that is slow, never reads, or sends what proxies read differently ends; no other does."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hostile_requests import BROKEN_HTTP
from live_server import LiveServer, Reply, serving
from PIL import Image
from raw_client import HOST, RawClient, get, post

START = b"POST /v1/detect HTTP/1.1\r\n" + HOST


@pytest.fixture(scope="module")
def impatient() -> Iterator[LiveServer]:
    """A server that gives its clients a second."""
    with serving("--body-time", "1", "--max-body", "4") as live:
        yield live


def until(condition: Callable[[], bool], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def open_files(server: LiveServer) -> int:
    return sum(1 for _ in Path(f"/proc/{server.process.pid}/fd").iterdir())


def answer(server: LiveServer, data: bytes) -> tuple[Reply, bool]:
    """Returns the response to a request, and whether the connection was closed after it."""
    with RawClient(server) as client:
        reply = client.send(data).reply()
        return reply, reply.headers.get("connection") == "close" and client.is_closed()


@pytest.mark.parametrize("request_", BROKEN_HTTP)
def test_what_is_read_in_two_ways_is_refused(server: LiveServer, request_: bytes) -> None:
    reply, is_closed = answer(server, request_)
    assert (reply.status, reply.json()["error"]["code"]) == (400, "bad-request")
    assert is_closed


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /v2 HTTP/1.0\r\n" + HOST + b"\r\n", 200),
        (b"GET /v2 HTTP/1.0\r\n" + HOST + b"Connection: keep-alive\r\n\r\n", 200),
        (b"GET http://localhost/v2 HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", 200),
        (b"GET http://[::1]:80/v2 HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", 200),
        (b"GET http://evil.example/v2 HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n", 421),
        (b"GET /v2 HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", 421),
        (b"GET /v2 HTTP/1.1\r\nHost: localhost.evil.example\r\nConnection: close\r\n\r\n", 421),
        (b"GET /v2 HTTP/1.1\r\nHost: [evil\r\nConnection: close\r\n\r\n", 421),
        (b"GET /v2 HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n", 421),
        (b"GET /v2 HTTP/1.1\r\nHost: LOCALHOST:1234\r\nConnection: close\r\n\r\n", 200),
        (b"GET /v2 HTTP/1.1\r\nHost: [::1]:1234\r\nConnection: close\r\n\r\n", 200),
        (b"\r\n\r\nGET /v2 HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", 200),
        (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n", 404),
        (get("/v2/models/%ff%00%0d%0a", "Connection: close"), 404),
        (get("/v2/../v2", "Connection: close"), 404),
        (post("/v1/detect/", b"x", "Connection: close"), 404),
    ],
)
def test_unusual_targets_and_hosts_are_answered(server: LiveServer, request_: bytes, status: int) -> None:
    reply, is_closed = answer(server, request_)
    assert (reply.status, is_closed) == (status, True)
    assert "location" not in reply.headers


def test_a_wish_for_another_protocol_is_ignored(server: LiveServer) -> None:
    """Java's client asks for h2c in its first request; the body must not be read as a request."""
    smuggled = get("/v2/health/live")
    wish = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA")
    whole = post("/v1/detect", smuggled, *wish)
    head = whole.removesuffix(smuggled)
    chunked = head.replace(b"Content-Length: %d" % len(smuggled), b"Transfer-Encoding: chunked")
    chunk = b"%x\r\n%s\r\n0\r\n\r\n" % (len(smuggled), smuggled)
    with RawClient(server) as client:
        for pieces in ([whole], [head, smuggled], [chunked, chunk], [chunked + chunk]):
            for piece in pieces:
                client.send(piece)
                time.sleep(0.05)
            assert client.reply().json()["error"]["code"] == "not-an-image"
        client.send(get("/v2/health/live", *wish) + get("/v2"))
        assert [client.reply().json(), client.reply().json()["name"]] == [{"live": True}, "mlcycle"]


def test_pipelined_requests_are_answered_in_order(server: LiveServer, astronaut: Path) -> None:
    with RawClient(server) as client:
        client.send(post("/v1/detect", astronaut.read_bytes()) + get("/v2") + post("/v1/detect", b"x") + get("/v2/no"))
        assert [client.reply().status for _ in range(4)] == [200, 200, 415, 404]


def test_what_is_broken_is_refused_after_earlier_responses(server: LiveServer, astronaut: Path) -> None:
    with RawClient(server) as client:
        client.send(post("/v1/detect", astronaut.read_bytes()) + get("/v2") + b"\0\0\0")
        first, second = client.reply(), client.reply()
        assert (first.status, second.status, second.headers["connection"]) == (200, 200, "close")
        assert client.is_closed()


def test_a_flood_of_pipelined_requests_ends_its_connection(server: LiveServer, astronaut: Path) -> None:
    with RawClient(server) as client:
        client.send(post("/v1/detect", astronaut.read_bytes()) + get("/v2") * 5000)
        replies = [client.reply()]
        while replies[-1].headers.get("connection") != "close":
            replies.append(client.reply())
        assert [each.status for each in replies] == [200] * len(replies)
        assert len(replies) < 100
        assert client.is_closed()


@pytest.mark.parametrize(
    "head",
    [
        b"GET /v2 HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 100_000,
        b"GET /v2 HTTP/1.1\r\n" + HOST + b"X: a\r\n" * 1000 + b"\r\n",
        b"GET /" + b"a" * 500_000,
        b"GET /v2 HTTP/1.1\r\n" + HOST + b"a" * 500_000,
    ],
)
def test_a_large_head_is_refused(server: LiveServer, head: bytes) -> None:
    reply, is_closed = answer(server, head)
    assert (reply.status, is_closed) == (431, True)


def test_a_refused_body_does_not_hide_the_response(impatient: LiveServer) -> None:
    """A connection that is closed while its client is sending is reset, and the response to it is often lost."""
    body = bytes(20 << 20)
    chunks = [b"%x\r\n%s\r\n" % (1 << 20, body[: 1 << 20])] * 20
    for request_ in ([post("/v1/detect", body)], [START + b"Transfer-Encoding: chunked\r\n\r\n", *chunks]):
        with RawClient(impatient) as client:
            assert client.send(request_).reply().status == 413


def test_a_response_before_the_end_of_the_body_closes_the_connection(server: LiveServer) -> None:
    whole = post("/v1/detect?nothing=1", b"x" * 100)
    with RawClient(server) as client:
        reply = client.send(whole[:-50]).reply()
        assert (reply.status, reply.headers["connection"]) == (400, "close")
        client.send(b"x" * 50 + get("/v2"))
        assert client.is_closed()
    with RawClient(server) as client:
        assert [client.send(whole).reply().status for _ in range(2)] == [400, 400]


def test_slow_clients_are_dropped(impatient: LiveServer) -> None:
    """None of them may hold a connection for ever, whatever it does between and within requests."""
    before = open_files(impatient)
    beginnings = {
        b"": None,
        b"GET": 408,
        get("/v2")[:-2]: 408,
        b"\r\n": None,
        post("/v1/detect", b"abc")[:-1]: 408,
        START + b"Transfer-Encoding: chunked\r\n\r\n1\r\n": 408,
        START + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n": 408,
        post("/v2/models/face-nano/infer", b"{}")[:-1]: 408,
        post("/v1/redact", b"abc", "Expect: 100-continue")[:-1]: 100,
    }
    clients = [RawClient(impatient).send(each) for each in beginnings]
    late = RawClient(impatient).send(get("/v2"))
    late.reply()
    late.send(b"\r\n")
    for client, status in zip(clients, beginnings.values(), strict=True):
        if status is not None:
            assert client.reply().status == status
        assert client.is_closed()
        client.close()
    assert late.is_closed()
    late.close()
    assert until(lambda: open_files(impatient) <= before)


@pytest.mark.slow
def test_drops_do_not_prolong_the_time_of_a_slow_client(impatient: LiveServer) -> None:
    for beginning in (get("/v2")[:-2], START + b"Content-Length: 1000\r\n\r\n"):
        with RawClient(impatient) as client:
            client.send(beginning)
            begin, reply = time.monotonic(), None
            client.socket.settimeout(0.1)
            while reply is None and time.monotonic() < begin + 10:
                client.send(b"a")
                try:
                    reply = client.reply()
                except TimeoutError:
                    client._file = client.socket.makefile("rb")
            assert reply is not None
            assert reply.status == 408


def test_a_client_that_does_not_read_its_response_is_dropped(impatient: LiveServer) -> None:
    noise_HW3 = np.random.default_rng(0).integers(0, 255, (1400, 1400, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise_HW3).save(stream, "WEBP", quality=5)
    request_ = post("/v1/redact", stream.getvalue())  # the PNG that comes back has more than the system's buffers
    before = open_files(impatient)
    with RawClient(impatient, receive_bytes=4096) as lazy, RawClient(impatient, receive_bytes=4096) as flooding:
        lazy.send(request_)
        flooding.send(get("/openapi.json") * 30)
        assert until(lambda: open_files(impatient) >= before + 2)
        assert until(lambda: open_files(impatient) <= before + 1)
        assert flooding.reply().status == 200


@pytest.mark.slow
def test_idle_connections_leave_files_for_the_server(astronaut: Path) -> None:
    """Connections beyond a part of the process's file descriptors are closed at once."""
    limited = ("/bin/sh", "-c", 'ulimit -n 160; exec "$0" "$@"', sys.executable, "-m", "mlcycle")
    with serving("--body-time", "2", command=limited) as live:
        first = RawClient(live).send(post("/v1/detect", astronaut.read_bytes()))
        assert first.reply().status == 200
        idle = [RawClient(live) for _ in range(300)]
        assert open_files(live) < 120
        assert first.send(post("/v1/detect", astronaut.read_bytes())).reply().status == 200
        assert idle[-1].is_closed()
        assert until(lambda: open_files(live) < 60)
        assert live.request("GET", "/v2").status == 200
        for client in (first, *idle):
            client.close()
        assert live.lines[2:] == []


def test_nothing_is_written_to_the_log(server: LiveServer, impatient: LiveServer) -> None:
    assert impatient.lines[2:] == []
    assert [line for line in server.lines[2:] if "Traceback" in line] == []
