"""Several generations of one call, each counted and timed by itself, under way at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing, asynccontextmanager
from contextvars import copy_context
from typing import Any

from adapterhub.pb.v1 import inference_pb2
from adapterhub_server.answers import Answers
from adapterhub_server.call import CALL, Call
from adapterhub_server.requests import Metadata

Message = inference_pb2.GenerateRequest
Begin = Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]]
Piece = inference_pb2.GenerateStreamResponse


async def wholes(
    answers: Answers, messages: Sequence[Message], metadata: Metadata
) -> list[inference_pb2.GenerateResponse]:
    """The answer to each. The first that fails ends the others. Raises as `Answers.whole`."""
    if len(messages) == 1:
        return [await answers.whole(messages[0], metadata)]
    async with _parts() as begin:
        tasks = [begin(answers.whole(message, metadata)) for message in messages]
        return list(await asyncio.gather(*tasks))


async def pieces(
    answers: Answers, messages: Sequence[Message], metadata: Metadata
) -> AsyncGenerator[tuple[int, Piece]]:
    """The answers as they come, each piece with the place of its message. Raises as `Answers.pieces`."""
    if len(messages) == 1:
        async with aclosing(answers.pieces(messages[0], metadata)) as alone:
            async for piece in alone:
                yield 0, piece
        return
    arrived: asyncio.Queue[tuple[int, Piece] | Exception | None] = asyncio.Queue(
        maxsize=1
    )  # a slow reader holds all up

    async def feed(place: int, message: Message) -> None:
        try:
            async with aclosing(answers.pieces(message, metadata)) as stream:
                async for piece in stream:
                    await arrived.put((place, piece))
        except Exception as error:  # noqa: BLE001  raised by who reads
            await arrived.put(error)
        else:
            await arrived.put(None)

    async with _parts() as begin:
        left = len([begin(feed(place, message)) for place, message in enumerate(messages)])
        while left:
            match await arrived.get():
                case None:
                    left -= 1
                case Exception() as error:
                    raise error
                case next_piece:
                    yield next_piece


@asynccontextmanager
async def _parts() -> AsyncGenerator[Begin]:
    """`begin(work)` runs work as a part of the call under way; what is left at the end is ended, and all is joined."""
    whole = CALL.get()
    parts: list[Call] = []
    tasks: list[asyncio.Task[Any]] = []

    def begin(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        context = copy_context()
        parts.append(whole.part())
        context.run(CALL.set, parts[-1])
        tasks.append(asyncio.create_task(work, context=context))
        return tasks[-1]

    try:
        yield begin
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        whole.join(parts)
