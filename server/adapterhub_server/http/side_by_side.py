"""Several generations that one call asks for, under way at once: each is a call, and one alone is the call itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

from adapterhub.pb.v1 import inference_pb2
from adapterhub_server.answers import Answers
from adapterhub_server.calls import Calls
from adapterhub_server.requests import Metadata

Message = inference_pb2.GenerateRequest
Whole = inference_pb2.GenerateResponse
Piece = inference_pb2.GenerateStreamResponse


class SideBySide:
    """Asks `Answers` for all of them. Raises as `Answers` does, and as `Calls.part`."""

    def __init__(self, calls: Calls, answers: Answers) -> None:
        self._calls = calls
        self._answers = answers

    async def wholes(self, messages: Sequence[Message], metadata: Metadata) -> list[Whole]:
        """The answer to each. The first that fails ends the others."""
        if len(messages) == 1:
            return [await self._answers.whole(messages[0], metadata)]

        async def whole(message: Message) -> Whole:
            with self._calls.part(_headers(metadata)):
                return await self._answers.whole(message, metadata)

        async with _tasks([whole(message) for message in messages]) as tasks:
            return list(await asyncio.gather(*tasks))

    async def pieces(self, messages: Sequence[Message], metadata: Metadata) -> AsyncGenerator[tuple[int, Piece]]:
        """The answers as they come, each piece with the place of its message. The first that fails ends the others."""
        if len(messages) == 1:
            async with aclosing(self._answers.pieces(messages[0], metadata)) as alone:
                async for piece in alone:
                    yield 0, piece
            return
        # of one piece: a slow reader holds all up
        arrived: asyncio.Queue[tuple[int, Piece] | Exception | None] = asyncio.Queue(maxsize=1)

        async def feed(place: int, message: Message) -> None:
            try:
                with self._calls.part(_headers(metadata)):
                    async with aclosing(self._answers.pieces(message, metadata)) as stream:
                        async for piece in stream:
                            await arrived.put((place, piece))
            except Exception as error:  # noqa: BLE001  raised by who reads
                await arrived.put(error)
            else:
                await arrived.put(None)

        async with _tasks([feed(place, message) for place, message in enumerate(messages)]) as tasks:
            left = len(tasks)
            while left:
                match await arrived.get():
                    case None:
                        left -= 1
                    case Exception() as error:
                        raise error
                    case next_piece:
                        yield next_piece


def _headers(metadata: Metadata) -> dict[str, str]:
    return {name: value for name, value in metadata if isinstance(value, str)}


@asynccontextmanager
async def _tasks(work: Sequence[Coroutine[Any, Any, Any]]) -> AsyncGenerator[list[asyncio.Task[Any]]]:
    """All of it under way; what is left at the end is ended."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
