"""One method of the HTTP door: who may, and a reply for whatever comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import NamedTuple
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from adapterhub.errors import ForbiddenError
from adapterhub_server.call import Call
from adapterhub_server.caller import ANYBODY, CALLER
from adapterhub_server.calls import Calls
from adapterhub_server.http.line import Lines
from adapterhub_server.http.reply import JSON, Reply
from adapterhub_server.requests import Metadata


class Asked(NamedTuple):
    """What a method is asked."""

    body: bytes
    path: dict[str, str]
    """The parts of the path that have names."""
    metadata: Metadata
    """The headers."""


Method = Callable[[Asked], Awaitable[JSON | AsyncGenerator[JSON]]]
"""Answers with one object, or with events as they come."""


class Endpoint:
    """An ASGI application of one method, named as in `access.NEEDS`."""

    def __init__(self, calls: Calls, lines: Lines, name: str, method: Method) -> None:
        self._calls = calls
        self._lines = lines
        self._name = name
        self._method = method

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        headers = dict(request.headers)
        call = Call.begin(self._name, _address(request), headers)
        reply = Reply(scope, send, call.request_id)
        answer: JSON | None = None
        line = None
        try:
            async with self._lines.hold(receive) as line:
                with self._calls.inside(self._name, call, headers):
                    _check_origin(headers)
                    asked = Asked(await line.body(), request.path_params, request.headers.items())
                    line.watch()
                    given = await self._method(asked)
                    if isinstance(given, dict):
                        answer = given
                    else:
                        async with aclosing(given) as events:
                            async for event in events:
                                await reply.event(event)
            await (reply.end() if answer is None else reply.whole(answer))
        except asyncio.CancelledError:
            if line is None or not line.is_cut:
                raise
            # The client went away, and nobody is left to be told.
        except Exception as error:  # noqa: BLE001  each has a status
            await reply.failed(error)


def _check_origin(headers: Mapping[str, str]) -> None:
    """A page of somebody else's, open in the browser of who may reach this port, has no key, and asks nothing where
    none is needed. Raises ForbiddenError.
    """
    origin = headers.get("origin", "")
    if CALLER.get() is ANYBODY and origin and urlsplit(origin).netloc != headers.get("host"):
        raise ForbiddenError(f"origin {origin}: not this server's, which has no keys")


def _address(request: Request) -> str:
    """The client's, without its port, as gRPC writes it: it has one share of the calls, whatever doors it uses."""
    host = request.client.host if request.client else ""
    return f"ipv6:%5B{host}%5D" if ":" in host else f"ipv4:{host}"
