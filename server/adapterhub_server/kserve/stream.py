"""Many requests over one stream, answered side by side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Generic, TypeVar

ROOM = 16
"""Answers that wait for a slow reader; whoever has another waits, and then joins what is new."""
MAX_OPEN = 256
"""Requests of one stream that are not answered to their end; more are not read until one is."""

Q = TypeVar("Q")
A = TypeVar("A")


class Stream(Generic[Q, A]):
    """Reads requests and answers each in a task of its own. For one stream, once."""

    def __init__(self, answer: Callable[[Q], AsyncGenerator[A]]) -> None:
        """`answer` gives a request's answers, and raises nothing."""
        self._answer = answer
        self._open = asyncio.Semaphore(MAX_OPEN)
        self._answers: asyncio.Queue[A | Exception | None] = asyncio.Queue(ROOM)

    async def answers(self, requests: AsyncIterator[Q]) -> AsyncGenerator[A]:
        """Until the requests have ended and all are answered. Leaving early ends what is under way.

        Raises what reading the requests raises; what is under way then ends.
        """
        reader = asyncio.create_task(self._read(requests))
        try:
            while (answer := await self._answers.get()) is not None:
                if isinstance(answer, Exception):
                    raise answer
                yield answer
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _read(self, requests: AsyncIterator[Q]) -> None:
        tasks: set[asyncio.Task[None]] = set()
        try:
            async for request in requests:
                await self._open.acquire()
                task = asyncio.create_task(self._put(request))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            await asyncio.gather(*tasks)
            await self._answers.put(None)
        except Exception as error:  # noqa: BLE001  whoever takes the answers raises it
            await self._answers.put(error)
        finally:
            under_way = tuple(tasks)
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _put(self, request: Q) -> None:
        try:
            async with aclosing(self._answer(request)) as answers:
                async for answer in answers:
                    await self._answers.put(answer)
        finally:
            self._open.release()
