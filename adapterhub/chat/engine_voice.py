"""Adapters of the store, over an engine of this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace

from adapterhub.asking import OwnEngine, Question
from adapterhub.chat.voice import Piece
from adapterhub.engine import Event
from adapterhub.engine.detokenizer import Detokenizer
from adapterhub.errors import EngineStoppedError
from adapterhub.store import Store


class EngineVoice:
    """Asks an engine that runs."""

    def __init__(self, own: OwnEngine, store: Store) -> None:
        self._own = own
        self._store = store
        self._pinned: dict[str, str] = {}
        """As asked -> as loaded: an adapter stays what it was when it was chosen last."""

    async def names(self) -> list[str]:
        return [str(ref) for ref in await asyncio.to_thread(lambda: list(self._store.labels()))]

    async def load(self, ref: str) -> None:
        self._pinned[ref] = str(await asyncio.to_thread(self._own.load_adapter, ref))

    async def answer(self, question: Question) -> AsyncGenerator[Piece]:
        if question.adapter and question.adapter not in self._pinned:
            await self.load(question.adapter)
        adapter = self._pinned[question.adapter] if question.adapter else ""
        request = await asyncio.to_thread(self._own.request, replace(question, adapter=adapter))
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[Event] = asyncio.Queue()
        detokenizer = Detokenizer(self._own.base.tokenizer)

        def receive(event: Event) -> None:
            loop.call_soon_threadsafe(events.put_nowait, event)

        request_id = self._own.engine.submit(request, receive)
        event: Event | None = None
        first = question.adapter
        try:
            while event is None or not event.finish_reason:
                event = await events.get()
                if event.error:
                    raise event.error
                if event.finish_reason == "cancelled":
                    raise EngineStoppedError("the engine was closed")
                text = event.text if event.text is not None else detokenizer.push(event.token_ids)
                yield Piece(text, first)
                first = ""
            if event.text is None and (rest := detokenizer.flush()):
                yield Piece(rest, "")
        finally:
            self._own.engine.cancel(request_id)
