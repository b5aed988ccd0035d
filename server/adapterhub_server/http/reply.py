"""What is sent back on one request: an object, or events as they come."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import Message, Scope, Send

from adapterhub_server.call import REQUEST_ID
from adapterhub_server.http.failure import Failure
from adapterhub_server.http.protocol import BREAK

UNREAD_SECONDS = 40.0
"""That a client may leave what is sent to it unread."""

JSON = dict[str, Any]


class Reply:
    """Begins a stream with its first event, so that what fails before has a status of its own."""

    def __init__(self, scope: Scope, send: Send, request_id: str) -> None:
        self._scope = scope
        self._send = send
        self._request_id = request_id
        self._streams = False

    async def whole(self, body: JSON, status: int = 200, headers: dict[str, str] | None = None) -> None:
        told = {REQUEST_ID: self._request_id, **(headers or {})}
        await JSONResponse(body, status, told)(self._scope, _nothing, self._send)

    async def event(self, body: JSON) -> None:
        if not self._streams:
            self._streams = True
            headers = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
            raw = [(name.encode(), value.encode()) for name, value in {**headers, REQUEST_ID: self._request_id}.items()]
            await self._send({"type": "http.response.start", "status": 200, "headers": raw})
        await self._chunk(json.dumps(body, ensure_ascii=False, separators=(",", ":")))

    async def end(self) -> None:
        """Of a stream."""
        await self._chunk("[DONE]", last=True)

    async def failed(self, error: Exception) -> None:
        """With the error's status, or as the last event of a stream that has begun."""
        failure = Failure.of(error, self._request_id)
        if not self._streams:
            await self.whole(failure.body, failure.status, failure.headers)
            return
        await self.event(failure.body)
        await self.end()

    async def _chunk(self, text: str, *, last: bool = False) -> None:
        body = f"data: {text}\n\n".encode()
        try:
            async with asyncio.timeout(UNREAD_SECONDS):
                await self._send({"type": "http.response.body", "body": body, "more_body": not last})
        except TimeoutError:
            self._scope["state"][BREAK]()  # which ends the request as if the client had gone


async def _nothing() -> Message:
    raise AssertionError("a reply reads nothing")
