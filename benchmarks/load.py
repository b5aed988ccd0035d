"""Many streams at a time for a while, each compared with what its request gives alone."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import NamedTuple

from adapterhub.client import SamplingOptions


class Question(NamedTuple):
    """One request of the load; there are as many of each as there is time for."""

    prompt: str
    ids: tuple[int, ...]
    """The prompt's, in the format the adapter is served with."""
    adapter: str
    """By name and digest."""
    digest: str
    sampling: SamplingOptions


class Said(NamedTuple):
    """A piece of an answer, or the whole of it."""

    token_ids: tuple[int, ...]
    text: str


Ask = Callable[[Question], AsyncGenerator[Said]]
"""Streams the answer to a question."""


@dataclass
class Taken:
    """What a load took; filled by its streams."""

    streams: int = 0
    """That came to their end."""
    tokens: int = 0
    seconds: float = 0.0
    first: list[float] = field(default_factory=list)
    """Seconds to each stream's first token."""
    between: list[float] = field(default_factory=list)
    """Seconds from a token to the next; tokens that came together share the time since those before."""
    wrong: list[str] = field(default_factory=list)
    """Streams that differ from their request alone, and errors."""

    @property
    def rate(self) -> float:
        """Tokens a second."""
        return self.tokens / self.seconds


@dataclass(frozen=True)
class Load:
    """`streams` clients in a closed loop: each asks its next question when it was answered."""

    asked: Sequence[tuple[Question, Said]]
    """Every question, and what its request gives when nothing else runs."""
    streams: int

    async def run(self, ask: Ask, seconds: float) -> Taken:
        """Ask until `seconds` have passed or a stream went wrong, and wait for what is under way then."""
        taken, questions = Taken(), itertools.cycle(self.asked)
        started = time.perf_counter()

        async def client() -> None:
            while time.perf_counter() - started < seconds and not taken.wrong:
                await self._stream(ask, *next(questions), taken)

        await asyncio.gather(*(client() for _ in range(self.streams)))
        taken.seconds = time.perf_counter() - started
        return taken

    async def _stream(self, ask: Ask, question: Question, alone: Said, taken: Taken) -> None:
        pieces: list[Said] = []
        last = time.perf_counter()
        try:
            async with aclosing(ask(question)) as stream:
                async for piece in stream:
                    now = time.perf_counter()
                    if count := len(piece.token_ids):
                        first = not any(said.token_ids for said in pieces)
                        if first:
                            taken.first.append(now - last)
                        taken.between += [(now - last) / count] * (0 if first else count)
                        last = now
                    pieces.append(piece)
        except Exception as error:  # noqa: BLE001  whatever it is, the load has failed and says so
            taken.wrong.append(f"{question.adapter}: {type(error).__name__}: {error}")
            return
        said = joined(pieces)
        taken.streams += 1
        taken.tokens += len(said.token_ids)
        if said != alone:
            taken.wrong.append(f"{question.adapter}, {question.sampling}: {said}, alone {alone}")


def joined(pieces: list[Said]) -> Said:
    tokens = tuple(token for piece in pieces for token in piece.token_ids)
    return Said(tokens, "".join(piece.text for piece in pieces))
