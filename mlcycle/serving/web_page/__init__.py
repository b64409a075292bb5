"""The page at /: plain HTML, CSS and JavaScript, which loads nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib import resources

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
# What the pages may load and do: only what comes from this server, and no text becomes a script.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",
}


def page_routes() -> list[Route]:
    """Returns / and /page/NAME for each file of the page."""
    files = [each for each in resources.files(__name__).iterdir() if "." + each.name.rpartition(".")[2] in _TYPES]
    routes = [Route(f"/page/{each.name}", _file(each.name, each.read_bytes())) for each in files]
    return [Route("/", _file("index.html", resources.files(__name__).joinpath("index.html").read_bytes())), *routes]


def _file(name: str, data: bytes) -> Callable[[Request], Awaitable[Response]]:
    media_type = _TYPES[f".{name.rpartition('.')[2]}"]

    async def endpoint(request: Request) -> Response:
        return Response(data, media_type=media_type, headers=_HEADERS)

    return endpoint
