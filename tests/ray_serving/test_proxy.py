"""What surrounds Ray's HTTP proxies: no orders by headers, no endless bodies, and Ray's errors in mlcycle's form."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from mlcycle.ray_serving.proxy import ORDERS, Front, environment, middlewares
from mlcycle.serving.connections import Connection
from mlcycle.serving.settings import ServerSettings

App = Callable[[Any, Any, Any], Awaitable[None]]


def answered(app: App, path: str = "/v1/detect", headers: Sequence[Any] = ()) -> tuple[int, dict[str, str], Any]:
    """Returns status, headers and JSON of what an application answers behind the front."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(Front(app, 1000)({"type": "http", "path": path, "headers": list(headers)}, receive, send))
    start, *parts = sent
    text = b"".join(each.get("body", b"") for each in parts)
    return start["status"], {k.decode(): v.decode() for k, v in start["headers"]}, json.loads(text)


def saying(status: int, media_type: bytes, body: bytes = b"{}") -> App:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", media_type), (b"x-request-id", b"1")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


async def silent(scope: Any, receive: Any, send: Any) -> None:
    """Ends without a response, as Ray's proxy does if a replica dies."""


@pytest.mark.parametrize(
    ("app", "status", "code"),
    [
        (silent, 503, "replica-lost"),
        (saying(503, b"text/plain"), 503, "overloaded"),
        (saying(404, b"text/plain"), 503, "overloaded"),
        (saying(500, b"text/plain"), 503, "overloaded"),
        (saying(408, b"text/plain"), 504, "deadline"),
    ],
)
def test_an_error_of_ray_has_the_form_of_all_errors(app: App, status: int, code: str) -> None:
    got, headers, document = answered(app)
    assert (got, document["error"]["code"]) == (status, code)
    assert (headers.get("retry-after") == "1") == (status == 503)


@pytest.mark.parametrize("status", [200, 413, 503])
def test_what_a_replica_answers_is_passed_on(status: int) -> None:
    got, headers, document = answered(saying(status, b"application/json", b'{"error": {"code": "mine"}}'))
    assert (got, document) == (status, {"error": {"code": "mine"}})
    assert "x-request-id" not in headers


def test_the_paths_of_ray_itself_are_hidden() -> None:
    got, _, document = answered(saying(200, b"application/json"), "/-/routes")
    assert (got, document["error"]["code"]) == (404, "no-such-path")


def test_clients_give_ray_no_orders() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend(scope["headers"])
        await saying(200, b"application/json")(scope, receive, send)

    answered(app, headers=[(b"accept", b"*/*"), *((each.upper(), b"9") for each in ORDERS)])
    assert seen == [(b"accept", b"*/*")]


def test_no_more_of_a_body_is_read_than_shows_that_it_is_too_large() -> None:
    given = 0

    async def receive() -> dict[str, Any]:
        nonlocal given
        given += 1
        return {"type": "http.request", "body": bytes(300), "more_body": True}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reading = asyncio.ensure_future(endless(receive))
        await asyncio.sleep(0.05)
        reading.cancel()
        await saying(413, b"application/json")(scope, receive, send)

    async def endless(receive: Any) -> None:
        while True:
            await receive()

    async def send(message: dict[str, Any]) -> None:
        pass

    asyncio.run(Front(app, 1000)({"type": "http", "path": "/", "headers": []}, receive, send))
    assert given == 4


def test_the_environment_of_ray_names_the_front_with_its_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    import uvicorn.config

    monkeypatch.setattr(uvicorn.config, "HTTP_PROTOCOLS", {})
    monkeypatch.setattr(uvicorn.config, "WS_PROTOCOLS", {})
    for name, value in environment(ServerSettings(workers=1, body_seconds=3, max_body_bytes=7)).items():
        monkeypatch.setenv(name, value)
    [middleware] = middlewares()
    assert middleware.cls is Front
    assert middleware.args == (7,)
    config = uvicorn.config.Config(print)
    config.load()
    assert issubclass(config.http_protocol_class, Connection)
    assert config.http_protocol_class.seconds == 3
    assert config.ws_protocol_class is None
