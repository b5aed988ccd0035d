"""Adapters of a running server."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

from adapterhub.asking import Question
from adapterhub.chat.voice import Piece
from adapterhub.client import AioClient, Turn
from adapterhub.errors import ConflictError, IntegrityError, NotFoundError


class ServerVoice:
    """Asks through a client."""

    def __init__(self, client: AioClient) -> None:
        self._client = client

    async def names(self) -> list[str]:
        """Those that the server was asked for; it tells of no others."""
        return sorted(ref for adapter in await self._client.list() for ref in adapter.refs)

    async def load(self, ref: str) -> None:
        with suppress(NotFoundError):  # not asked for yet
            if (await self._client.get(ref)).state == "unloaded":
                raise ConflictError(f"adapter {ref} was unloaded at the server; load it again first: adapterhub load")
        await self._client.load(ref)
        async with aclosing(self._client.watch(ref)) as states:
            async for adapter in states:
                if adapter.state == "resident":
                    return
                if adapter.state == "failed":
                    raise IntegrityError(f"{ref}: {adapter.reason}")

    async def answer(self, question: Question) -> AsyncGenerator[Piece]:
        prompt = question.prompt
        if not isinstance(prompt, str):
            prompt = tuple(Turn(each["role"], each["content"]) for each in prompt if not isinstance(each, int))  # type: ignore[assignment]
        stream = self._client.generate_stream(
            prompt,  # type: ignore[arg-type]
            adapter=question.adapter,
            kind=question.kind,
            system_prompt=question.system_prompt,
            structure=question.structure,
            blend=dict(question.blend) or None,
            **question.sampling,
        )
        async with aclosing(stream) as pieces:
            async for piece in pieces:
                yield Piece(piece.text, piece.adapter)
