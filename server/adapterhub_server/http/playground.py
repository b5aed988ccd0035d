"""The playground: a page that asks this server, and the files it is made of.

The files hold nothing secret and need no key; what the page asks does, as whoever else asks. The browser is told to let
the page load and ask nothing of any other origin, to run no script but these files, and to show it in no frame.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

FOLDER = "page"
INDEX = "index.html"
TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "cache-control": "no-cache",
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def playground_routes() -> Iterator[Route]:
    """The page at the root, each of its files beside it by name; they are read once."""
    for file in files("adapterhub_server.http").joinpath(FOLDER).iterdir():
        suffix = file.name.rpartition(".")[2]
        if suffix in TYPES:
            path = "/" if file.name == INDEX else f"/{FOLDER}/{file.name}"
            yield Route(path, _file(file.read_bytes(), TYPES[suffix]), methods=["GET"])


def _file(content: bytes, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        return Response(content, headers=HEADERS, media_type=media_type)

    return answer
