"""One request on its way through the engine, seen from the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import NamedTuple

from adapterhub.engine import Engine, Event, FinishReason, Request
from adapterhub.engine.detokenizer import Detokenizer
from adapterhub.errors import EngineStoppedError


class Piece(NamedTuple):
    """All that is new since the piece before; the last has a finish reason."""

    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason | None


class Generation:
    """Receives a request's events on the engine's thread and gives them as pieces on the event loop.

    Tokens that wait for a slow reader join into one piece, so what waits is never more than the
    request's own `max_new_tokens`.
    """

    def __init__(self, engine: Engine, request: Request) -> None:
        self._engine = engine
        self._request = request
        self._detokenizer = Detokenizer(engine.base.tokenizer)
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._token_ids: list[int] = []
        self._last: Event | None = None

    async def pieces(self) -> AsyncGenerator[Piece]:
        """Run the request. Leaving early, by whatever way, ends it in the engine.

        Raises what `Engine.submit` raises, and the error that ended the request.
        """
        request_id = self._engine.submit(self._request, self._on_event)
        try:
            ended = False
            while not ended:
                await self._arrived.wait()
                self._arrived.clear()
                piece = self._take()
                ended = piece.finish_reason is not None
                yield piece
        finally:
            if self._last is None:
                self._engine.cancel(request_id)

    def _on_event(self, event: Event) -> None:
        """Called on the engine's thread."""
        self._loop.call_soon_threadsafe(self._receive, event)

    def _receive(self, event: Event) -> None:
        self._token_ids += event.token_ids
        if event.finish_reason:
            self._last = event
        self._arrived.set()

    def _take(self) -> Piece:
        """All that has arrived."""
        token_ids, self._token_ids = self._token_ids, []
        text = self._detokenizer.push(token_ids)
        if self._last is None:
            return Piece(text, tuple(token_ids), None)
        if self._last.error:
            raise self._last.error
        if self._last.finish_reason == "cancelled":
            raise EngineStoppedError("the server is stopping")
        return Piece(text + self._detokenizer.flush(), tuple(token_ids), self._last.finish_reason)
