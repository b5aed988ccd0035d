"""The HTTP door's routes as one ASGI application."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from adapterhub_server.behind import Behind
from adapterhub_server.http.endpoint import Endpoint, Method
from adapterhub_server.http.failure import error_body
from adapterhub_server.http.line import Lines
from adapterhub_server.http.methods import Methods
from adapterhub_server.http.playground import playground_routes

SERVICE = "/openai.v1.OpenAI"


def http_app(behind: Behind, lines: Lines, *, playground: bool = True) -> Starlette:
    """Every route, with `playground` those of its page; what is none of them gets OpenAI's error object too."""
    methods = Methods(behind)

    def endpoint(name: str, method: Method) -> Endpoint:
        return Endpoint(behind.calls, lines, f"{SERVICE}/{name}", method)

    async def health(request: Request) -> JSONResponse:
        """Open to everybody: whoever probes has no key."""
        alive = behind.engine.alive
        return JSONResponse({"status": "ok" if alive else "stopped"}, 200 if alive else 503)

    routes = [
        Route("/health", health, methods=["GET"]),
        Route("/v1/models", endpoint("ListModels", methods.list_models), methods=["GET"]),
        Route("/v1/models/{name:path}", endpoint("GetModel", methods.get_model), methods=["GET"]),
        Route("/v1/completions", endpoint("Completions", methods.completions), methods=["POST"]),
        Route("/v1/chat/completions", endpoint("ChatCompletions", methods.chat_completions), methods=["POST"]),
    ]
    if playground:
        routes += playground_routes()
    return Starlette(routes=routes, exception_handlers={HTTPException: _no_such})


async def _no_such(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path}: {error.detail}"
    return JSONResponse(error_body(error.status_code, message, "no_such_route"), error.status_code, error.headers)
