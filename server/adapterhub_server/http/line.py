"""The client's connection during one request: its body, and what happens when either side goes away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import Receive

from adapterhub.errors import EngineStoppedError, InvalidInputError

MAX_BODY_BYTES = 4 << 20
BODY_SECONDS = 60.0


class BodyTooLargeError(InvalidInputError):
    """More than a request may have."""


class Line:
    """Belongs to the task that serves the request, and cancels it when the request is over before its answer."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._task = asyncio.current_task()
        self._watching: asyncio.Task[None] | None = None
        self.is_cut = False
        """Whether the request was over before its answer."""

    async def body(self) -> bytes:
        """The request's. Raises BodyTooLargeError, and InvalidInputError when it does not come."""
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while True:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        self.cut()
                        await asyncio.sleep(0)
                    body += message.get("body", b"")
                    if len(body) > MAX_BODY_BYTES:
                        raise BodyTooLargeError(f"the body has over {MAX_BODY_BYTES} bytes, which is the most")
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            raise InvalidInputError(f"the body did not come within {BODY_SECONDS:.0f} s") from None

    def watch(self) -> None:
        """From now on, the client's going away ends the request. Its body must have been read."""
        self._watching = asyncio.create_task(self._watch())

    def cut(self) -> None:
        """End the request: the task gets a CancelledError at its next step."""
        assert self._task is not None
        self.is_cut = True
        self._task.cancel()

    def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.cut()


class Lines:
    """Every request under way. Lives on the event loop."""

    def __init__(self) -> None:
        self._lines: set[Line] = set()
        self._stopped = False

    @asynccontextmanager
    async def hold(self, receive: Receive) -> AsyncIterator[Line]:
        """A request's line while it is served. Raises EngineStoppedError where `stop` ended it."""
        line = Line(receive)
        self._lines.add(line)
        try:
            yield line
        except asyncio.CancelledError:
            if not (line.is_cut and self._stopped):
                raise
            raise EngineStoppedError("the server is stopping") from None
        finally:
            self._lines.discard(line)
            line.close()

    def stop(self) -> None:
        """End every request."""
        self._stopped = True
        for line in self._lines:
            line.cut()
