"""Several answers read at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing

from adapterhub.errors import AdapterHubError


async def read_all(
    answers: Mapping[str, AsyncGenerator[str]], said: dict[str, str], on_text: Callable[[str, str], None]
) -> dict[str, AdapterHubError]:
    """Reads every answer to its end into `said`; the errors of those that failed.

    `on_text(name, text)` is called with what is new. Cancelled, it ends the answers that are under way.
    """
    failed: dict[str, AdapterHubError] = {}

    async def read(name: str, answer: AsyncGenerator[str]) -> None:
        try:
            async with aclosing(answer) as texts:
                async for text in texts:
                    said[name] = said.get(name, "") + text
                    on_text(name, text)
        except AdapterHubError as error:
            failed[name] = error

    async with asyncio.TaskGroup() as group:
        for name, answer in answers.items():
            group.create_task(read(name, answer))
    return failed
