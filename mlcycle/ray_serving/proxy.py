"""What Ray Serve's HTTP proxies do before and after they give a request to a replica.

Ray calls `middlewares` in each proxy, because the environment names it. A proxy by itself waits for the head of a
request for ever, takes orders from request headers, and answers with texts of its own where a replica has died.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from typing import Any

import uvicorn.config
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlcycle.serving.application import error_response
from mlcycle.serving.connections import connection_class
from mlcycle.serving.problems import RequestError
from mlcycle.serving.settings import ServerSettings

# Request headers by which a client could set Ray's timeout, choose a replica, or name its request in Ray's logs.
ORDERS = (
    *(b"x-request-timeout-seconds", b"x-request-disconnect-disabled", b"x-request-id"),
    *(b"x-session-id", b"x_session_id", b"serve-multiplexed-model-id", b"serve_multiplexed_model_id"),
)
_CALLBACK, _LIMITS = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH", "MLCYCLE_PROXY_LIMITS"
# Other ways from clients to replicas, which open ports at all addresses or go around this module.
_OFF = (
    *("RAY_SERVE_USE_GRPC_BY_DEFAULT", "RAY_SERVE_PROXY_USE_GRPC", "RAY_SERVE_THROUGHPUT_OPTIMIZED"),
    *("RAY_SERVE_ENABLE_HA_PROXY", "RAY_SERVE_ENABLE_DIRECT_INGRESS"),
)


def environment(settings: ServerSettings) -> dict[str, str]:
    """Returns the variables that make Ray's proxies use this module."""
    limits = {"body_seconds": settings.body_seconds, "max_body_bytes": settings.max_body_bytes}
    return {_CALLBACK: f"{__name__}.middlewares", _LIMITS: json.dumps(limits), **dict.fromkeys(_OFF, "0")}


def middlewares() -> list[Middleware]:
    """Returns what Ray puts around its proxy; also gives the proxy mlcycle's limits for connections."""
    limits = json.loads(os.environ[_LIMITS])
    protocols: dict[str, Any] = uvicorn.config.HTTP_PROTOCOLS
    protocols["auto"] = connection_class(limits["body_seconds"])
    uvicorn.config.WS_PROTOCOLS["auto"] = None
    return [Middleware(Front, limits["max_body_bytes"])]


class Front:
    """Holds back too large bodies, and gives Ray's own errors the form of mlcycle's.

    Args:
        app: Ray's proxy.
        max_body_bytes: of a request; no more of it is read than shows the replica that it is too large.
    """

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self._app, self._max_body_bytes = app, max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith("/-/"):  # Ray's own, which name the application to anyone
            missing = RequestError(404, "no-such-path", "there is nothing at this path")
            await error_response(scope["path"], missing)(scope, receive, send)
            return
        headers = [(name, value) for name, value in scope["headers"] if name.lower() not in ORDERS]
        answer = _Answer(send)
        await self._app({**scope, "headers": headers}, self._limited(receive), answer.send)
        if problem := answer.problem():
            await error_response(scope["path"], problem)(scope, receive, send)

    def _limited(self, receive: Receive) -> Receive:
        size = 0

        async def limited() -> Message:
            nonlocal size
            if size > self._max_body_bytes:  # the replica answers; the rest would only fill this process's memory
                await asyncio.Event().wait()
            message = await receive()
            size += len(message.get("body", b""))
            return message

        return limited


class _Answer:
    """Passes on a response of a replica, and notes one of Ray's own instead."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._is_started, self._status_of_ray = False, 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if message["status"] >= 400 and not _is_json(dict(message.get("headers", ()))):
                self._status_of_ray = message["status"]
            else:
                self._is_started = True
                message = {**message, "headers": [each for each in message["headers"] if each[0] != b"x-request-id"]}
        if not self._status_of_ray:
            await self._send(message)

    def problem(self) -> RequestError | None:
        """Returns what to answer in place of Ray, or None if a replica has answered."""
        if self._is_started:
            return None
        if self._status_of_ray == 408:
            return RequestError(504, "deadline", "the request could not be finished before its deadline")
        headers = {"retry-after": "1"}
        if self._status_of_ray:  # no replica, or the application is being removed
            return RequestError(503, "overloaded", "no replica takes this request now", headers=headers)
        return RequestError(503, "replica-lost", "the replica ended while it processed this request", headers=headers)


def _is_json(headers: Mapping[bytes, Any]) -> bool:
    return headers.get(b"content-type", b"").startswith(b"application/json")
