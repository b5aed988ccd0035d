"""Several answers to one request, generated together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import NamedTuple

from adapterhub.engine import Request
from adapterhub.errors import InvalidInputError
from adapterhub.pb.v1 import inference_pb2
from adapterhub_server.generation import Generation, Piece

MOST = 16
SEEDS = 1 << 63


class Counts(NamedTuple):
    """How many answers are generated, and how many are given."""

    generated: int
    given: int

    @classmethod
    def of(cls, message: inference_pb2.GenerateRequest, *, stream: bool) -> Counts:
        """Raises InvalidInputError naming the field."""
        given = message.n if message.HasField("n") else 1
        if not 1 <= given <= MOST:
            raise InvalidInputError(f"n: {given} (accepted: 1 to {MOST})", field="n")
        generated = message.best_of if message.HasField("best_of") else given
        if not given <= generated <= MOST:
            raise InvalidInputError(f"best_of: {generated} (accepted: {given}, which is n, to {MOST})", field="best_of")
        if stream and generated > given:
            raise InvalidInputError(
                f"best_of: {generated} (accepted in a stream: n, here {given}; nobody knows yet which are the best)",
                field="best_of",
            )
        return cls(generated, given)

    @property
    def chosen(self) -> bool:
        """Whether some are left out."""
        return self.given < self.generated


def requests_of(request: Request, count: int) -> list[Request]:
    """As many requests, each with a seed of its own; the first is the request itself, and tells of the prompt."""
    sampling = request.sampling
    others = [
        replace(
            request,
            sampling=sampling.model_copy(update={"seed": (sampling.seed + place) % SEEDS, "prompt_logprobs": None}),
        )
        for place in range(1, count)
    ]
    return [request, *others]


async def pieces_of(generations: list[Generation]) -> AsyncGenerator[tuple[int, Piece]]:
    """Pieces as they come, each with its generation's place. Leaving early ends all of them.

    The first computes the prompt; the others start with its first piece, and find the prompt in the prefix cache.
    Raises as `Generation.pieces`; the first error ends the others.
    """
    if len(generations) == 1:
        async with aclosing(generations[0].pieces()) as only:
            async for each in only:
                yield 0, each
        return
    # no more than one piece of each waits here: the rest joins in its generation until it is asked for
    ready: asyncio.Queue[tuple[int, Piece | Exception]] = asyncio.Queue(len(generations))
    begun = asyncio.Event()
    tasks = [asyncio.create_task(_run(each, place, ready, begun)) for place, each in enumerate(generations)]
    left = len(generations)
    try:
        while left:
            place, piece = await ready.get()
            if isinstance(piece, Exception):
                raise piece
            left -= piece.finish_reason is not None
            yield place, piece
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _run(
    generation: Generation,
    place: int,
    ready: asyncio.Queue[tuple[int, Piece | Exception]],
    begun: asyncio.Event,
) -> None:
    if place:
        await begun.wait()
    try:
        async with aclosing(generation.pieces()) as pieces:
            async for piece in pieces:
                await ready.put((place, piece))
                begun.set()
    except Exception as error:  # noqa: BLE001  raised where the pieces are taken
        await ready.put((place, error))
