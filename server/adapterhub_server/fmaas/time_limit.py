"""Ending an answer when its time is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

T = TypeVar("T")


async def until(pieces: AsyncGenerator[T], end: float | None) -> AsyncGenerator[T | None]:
    """The pieces that come before `end`, in the event loop's time; then, if that was not all, None."""
    async with aclosing(pieces):
        while True:
            limit = asyncio.timeout_at(end)  # around each wait, so that it ends no wait of whoever takes the pieces
            try:
                async with limit:
                    piece = await anext(pieces)
            except StopAsyncIteration:
                return
            except TimeoutError:
                if not limit.expired():
                    raise
                yield None
                return
            yield piece
