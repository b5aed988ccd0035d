"""One request on its way through the engine, seen from the event loop."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncGenerator
from typing import Literal, NamedTuple

from adapterhub.engine import Engine, Event, FinishReason, Request, Steps, TokenLogprobs
from adapterhub.engine.detokenizer import Detokenizer
from adapterhub.errors import EngineStoppedError
from adapterhub.tool_calls import CallReader, ToolCall

EndReason = FinishReason | Literal["tool_calls"]

PIECE_SECONDS = 0.0002
"""Of a processor's time that a piece takes, half of it the client's, who may share the machine."""
SHARE = 0.04
"""Of all processors' time that pieces may take."""


class Piece(NamedTuple):
    """All that is new since the piece before; the last has a finish reason."""

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprobs, ...]
    finish_reason: EndReason | None
    prompt_logprobs: tuple[TokenLogprobs, ...] = ()
    """In the first piece, where asked for."""
    tool_calls: tuple[ToolCall, ...] = ()
    """All of them, in the last piece."""
    steps: Steps | None = None
    """In the last."""


class Generations:
    """Those of one server that have begun to give some: the more, the longer each one's tokens wait for each other."""

    def __init__(self) -> None:
        self.running = 0
        self._each = PIECE_SECONDS / SHARE / (os.cpu_count() or 1)

    @property
    def interval(self) -> float:
        """Seconds from a piece of a generation to its next."""
        return self.running * self._each


class Generation:
    """Receives a request's events on the engine's thread and gives them as pieces on the event loop.

    To send a piece takes a tenth of what a small base's token takes, whatever is in it. So with many generations a
    token waits for the next ones, as `Generations` has it; the first piece and the last never wait. Tokens that wait
    for a slow reader join into one piece too, so what waits is never more than the request's own `max_new_tokens`.
    """

    def __init__(self, engine: Engine, request: Request, others: Generations, reader: CallReader | None = None) -> None:
        """`reader` takes the calls of tools out of the text."""
        self._engine = engine
        self._request = request
        self._others = others
        self._reader = reader
        self._detokenizer = Detokenizer(engine.base.tokenizer, request.silent)
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._events: deque[Event] = deque()
        """Appended to on the engine's thread, taken from on the event loop's."""
        self._is_due = True
        """Whether the event loop is to be woken for the next event. The last one always wakes it."""
        self._last: Event | None = None

    async def pieces(self) -> AsyncGenerator[Piece]:
        """Run the request. Leaving early, by whatever way, ends it in the engine.

        Raises what `Engine.submit` raises, and the error that ended the request.
        """
        request_id = self._engine.submit(self._request, self._on_event)
        timer: asyncio.TimerHandle | None = None
        running = False  # those that wait for their turn in the engine send nothing
        try:
            while self._last is None:
                await self._arrived.wait()
                self._arrived.clear()
                if self._events:
                    if not running:
                        running = True
                        self._others.running += 1
                    yield self._take()
                    if self._last is None:
                        timer = self._loop.call_later(self._others.interval, self._be_due)
        finally:
            self._others.running -= running
            if timer is not None:
                timer.cancel()
            if self._last is None:
                self._engine.cancel(request_id)

    def _on_event(self, event: Event) -> None:
        """Called on the engine's thread."""
        self._events.append(event)  # before it is looked whether one is due, as `_be_due` does it the other way round
        if self._is_due or event.finish_reason:
            self._is_due = False
            self._loop.call_soon_threadsafe(self._arrived.set)

    def _be_due(self) -> None:
        self._is_due = True
        if self._events:
            self._is_due = False
            self._arrived.set()

    def _take(self) -> Piece:
        """All that has arrived."""
        events = [self._events.popleft() for _ in range(len(self._events))]
        if events[-1].finish_reason:
            self._last = events[-1]
            if self._last.error:
                raise self._last.error
            if self._last.finish_reason == "cancelled":
                raise EngineStoppedError("the server is stopping")
        token_ids = tuple(token for event in events for token in event.token_ids)
        logprobs = tuple(each for event in events for each in event.logprobs)
        prompt = tuple(each for event in events for each in event.prompt_logprobs)
        text = self._text(events, token_ids)
        if self._last is None:
            return Piece(text, token_ids, logprobs, None, prompt)
        calls = tuple(self._reader.calls) if self._reader else ()
        reason = "tool_calls" if calls and self._last.finish_reason == "stop" else self._last.finish_reason
        return Piece(text, token_ids, logprobs, reason, prompt, calls, self._last.steps)

    def _text(self, events: list[Event], token_ids: tuple[int, ...]) -> str:
        """What is new of the text beside calls of tools."""
        text = self._whole_text(events, token_ids)
        if self._reader is None:
            return text
        text = self._reader.push(text)
        return text if self._last is None else text + self._reader.flush()

    def _whole_text(self, events: list[Event], token_ids: tuple[int, ...]) -> str:
        """The engine's own where it cuts the text; else what the tokens decode to."""
        if self._request.sampling.cuts_text:
            return "".join(event.text or "" for event in events)
        text = self._detokenizer.push(token_ids)
        return text if self._last is None else text + self._detokenizer.flush()
