"""The application: which endpoint answers which path, and what holds for all of them. Read it top to bottom.

It is a plain ASGI application: any ASGI server, or a Ray Serve deployment, can run it.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlcycle.serving import metrics, openapi, problems
from mlcycle.serving.image_endpoints import ImageEndpoints
from mlcycle.serving.problems import RequestError
from mlcycle.serving.protocol_endpoints import ProtocolEndpoints
from mlcycle.serving.service import Service
from mlcycle.serving.web_page import page_routes

Endpoint = Callable[[Request], Awaitable[Response]]
# A client that takes no response is dropped; 499 is what servers log for one that has gone.
CLIENT_GONE = 499


def application(service: Service) -> ASGIApp:
    """Returns the ASGI application that serves the models of a service."""
    images, protocol = ImageEndpoints(service), ProtocolEndpoints(service)
    model = "/v2/models/{model}"
    routes = [
        *page_routes(),
        Route("/openapi.json", _constant(openapi.document(service))),
        Route("/metrics", _metrics(service)),
        _route(service, "/v1/detect", images.detect, "POST"),
        _route(service, "/v1/redact", images.redact, "POST"),
        _route(service, "/v1/model", images.describe),
        _route(service, "/v2", protocol.server),
        _route(service, "/v2/health/live", protocol.live),
        _route(service, "/v2/health/ready", protocol.ready),
        _route(service, "/v2/repository/index", protocol.index, "POST"),
        _route(service, "/v2/models/stats", protocol.statistics),
    ]
    for path in (model, f"{model}/versions/{{version}}"):
        routes += [
            _route(service, path, protocol.model),
            _route(service, f"{path}/ready", protocol.model_ready),
            _route(service, f"{path}/config", protocol.config),
            _route(service, f"{path}/stats", protocol.statistics),
            _route(service, f"{path}/infer", protocol.infer, "POST"),
        ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _http_error})  # type: ignore[dict-item]
    app.router.redirect_slashes = False  # to an address made from the request's own Host header
    return Guard(app, service)


def _route(service: Service, path: str, endpoint: Endpoint, method: str = "GET") -> Route:
    async def answered(request: Request) -> Response:
        try:
            return await endpoint(request)
        except ClientDisconnect:
            service.metrics.failure(_model_of(request, service), "client-gone")
            return Response(status_code=CLIENT_GONE)
        except Exception as failure:
            problem = problems.of_exception(failure)
            failure.__traceback__ = None  # its frames hold the request's body, in a circle of references
            if method == "POST":
                service.metrics.failure(_model_of(request, service), problem.code)
            return error_response(request.url.path, problem)

    return Route(path, answered, methods=[method])


def _model_of(request: Request, service: Service) -> str:
    """Returns the model that a request names, if there is one: its label must not be a client's choice."""
    name = request.path_params.get("model", request.query_params.get("model"))
    return name if name in service.models else "" if name is not None else next(iter(service.models))


def error_response(path: str, problem: RequestError) -> Response:
    """Returns a problem as JSON; under /v2 as the protocol has it, a sentence under "error"."""
    detail: object = {"code": problem.code, "message": problem.message}
    document = {"error": problem.message if path.startswith("/v2") else detail}
    return Response(json.dumps(document), problem.status, problem.headers, "application/json")


async def _http_error(request: Request, problem: HTTPException) -> Response:
    codes = {
        404: ("no-such-path", "there is nothing at this path"),
        405: ("no-such-method", "another method is needed"),
    }
    code, message = codes.get(problem.status_code, ("bad-request", str(problem.detail)))
    headers = dict(problem.headers or {})
    return error_response(request.url.path, RequestError(problem.status_code, code, message, headers=headers))


def _constant(document: dict[str, object]) -> Endpoint:
    text = json.dumps(document)

    async def endpoint(request: Request) -> Response:
        return Response(text, media_type="application/json")

    return endpoint


def _metrics(service: Service) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        return Response(service.metrics.text(), media_type=metrics.MEDIA_TYPE)

    return endpoint


class Guard:
    """Refuses requests without the token or for another host."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # lifespan; there are no web sockets
            await self._app(scope, receive, send)
            return
        problem = self._refusal(scope["path"], Headers(scope=scope))
        app = self._app if problem is None else error_response(scope["path"], problem)
        await app(scope, receive, self._closing(send))

    def _refusal(self, path: str, headers: Headers) -> RequestError | None:
        hosts, token = self._service.settings.hosts, self._service.settings.token
        # A page of another site that had its name point here could read the answers to a browser in this machine.
        if hosts and _host_of(headers) not in hosts:
            return RequestError(421, "wrong-host", "the server is not addressed by one of its names")
        if not token or _is_open(path) or _has_token(headers, token):
            return None
        headers_ = {"www-authenticate": "Bearer"}
        return RequestError(401, "no-token", "the request needs a token: Authorization: Bearer …", headers=headers_)

    def _closing(self, send: Send) -> Send:
        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start" and self._service.closes:
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        return closing


def _is_open(path: str) -> bool:
    """Returns whether a path needs no token: the page, which holds nothing, and what a load balancer asks."""
    return path.startswith(("/v2/health/", "/page/")) or path == "/"


def _has_token(headers: Headers, token: str) -> bool:
    scheme, _, given = headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())


def _host_of(headers: Headers) -> str:
    """Returns the name that a request was addressed to, without the port."""
    host = headers.get("host", "")
    return host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0].lower()
