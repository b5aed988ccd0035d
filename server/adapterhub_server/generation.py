"""One request on its way through the engine, seen from the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import NamedTuple

from adapterhub.engine import Engine, Event, FinishReason, Request, Steps, TokenLogprobs
from adapterhub.engine.detokenizer import Detokenizer
from adapterhub.errors import EngineStoppedError


class Piece(NamedTuple):
    """All that is new since the piece before; the last has a finish reason."""

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprobs, ...]
    finish_reason: FinishReason | None
    steps: Steps | None = None
    """In the last."""


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
        self._events: list[Event] = []
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
        self._events.append(event)
        if event.finish_reason:
            self._last = event
        self._arrived.set()

    def _take(self) -> Piece:
        """All that has arrived."""
        events, self._events = self._events, []
        if self._last is not None and self._last.error:
            raise self._last.error
        if self._last is not None and self._last.finish_reason == "cancelled":
            raise EngineStoppedError("the server is stopping")
        token_ids = tuple(token for event in events for token in event.token_ids)
        logprobs = tuple(each for event in events for each in event.logprobs)
        reason = self._last.finish_reason if self._last is not None else None
        steps = self._last.steps if self._last is not None else None
        return Piece(self._text(events, token_ids), token_ids, logprobs, reason, steps)

    def _text(self, events: list[Event], token_ids: tuple[int, ...]) -> str:
        """The engine's own where there are stop strings, which it cuts; else what the tokens decode to."""
        if self._request.sampling.stop:
            return "".join(event.text or "" for event in events)
        text = self._detokenizer.push(token_ids)
        return text if self._last is None else text + self._detokenizer.flush()
