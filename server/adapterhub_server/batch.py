"""Several generations that one call asks for at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from adapterhub.errors import InvalidInputError
from adapterhub_server.door import Context, Door

MAX_BATCH = 64

T = TypeVar("T")
A = TypeVar("A")


def check_batch(field: str, size: int) -> None:
    """Raises InvalidInputError naming the field that has as many."""
    if not 0 < size <= MAX_BATCH:
        raise InvalidInputError(f"{field}: {size} (accepted: 1 to {MAX_BATCH})", field=field)


async def answer_all(door: Door, context: Context, asked: Sequence[T], answer: Callable[[T], Awaitable[A]]) -> list[A]:
    """One answer for each, in order; they run side by side. One alone is the call itself, of more each is a call.

    When one fails the others end, and its error is raised.
    """
    if len(asked) == 1:
        return [await answer(asked[0])]

    async def one(each: T) -> A:
        with door.part(context):
            return await answer(each)

    tasks = [asyncio.create_task(one(each)) for each in asked]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
