"""A request's events become pieces on the event loop: each soon where few run, several at a time where many do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from types import SimpleNamespace
from typing import Any, cast

import pytest
from adapterhub_server.generation import Generation, Generations, Piece

from adapterhub.engine import Engine, Event, FinishReason, Request
from adapterhub.errors import UnavailableError


def on_a_loop(test: Callable[[], Coroutine[None, None, None]]) -> Callable[[], None]:
    return lambda: asyncio.run(test())


MANY = 10**9
"""So many that a piece waits for years."""


class Tokenizer:
    """A token is a character."""

    def decode(self, ids: list[int], **_: bool) -> str:
        return "".join(map(chr, ids))


class Played:
    """An engine whose one request's events are what the test says, from another thread as an engine's are."""

    def __init__(self) -> None:
        self.base = SimpleNamespace(tokenizer=Tokenizer())
        self.cancelled: list[int] = []
        self._on_event: Callable[[Event], None]

    def submit(self, request: Request, on_event: Callable[[Event], None]) -> int:
        self._on_event = on_event
        return 7

    def cancel(self, request_id: int) -> None:
        self.cancelled.append(request_id)

    async def say(self, text: str, reason: FinishReason | None = None, error: Any = None) -> None:
        await asyncio.to_thread(self._on_event, Event(tuple(map(ord, text)), reason, error))


def begin(others: int) -> tuple[Played, Generations, AsyncGenerator[Piece]]:
    engine, generations = Played(), Generations()
    generations.running = others
    return engine, generations, Generation(cast("Engine", engine), Request((1,)), generations).pieces()


async def ready(pieces: AsyncGenerator[Piece]) -> asyncio.Task[Piece]:
    """Waits for the next piece."""
    task = asyncio.ensure_future(anext(pieces))
    await asyncio.sleep(0)
    return task


@on_a_loop
async def test_where_few_run_each_token_is_a_piece() -> None:
    engine, generations, pieces = begin(others=0)
    for letter in "abc":
        piece = await ready(pieces)
        await engine.say(letter)
        assert (await piece).text == letter
    piece = await ready(pieces)
    await engine.say("d", "length")
    assert (await piece)[:4] == ("d", (ord("d"),), (), "length")
    assert [each async for each in pieces] == []
    assert generations.running == 0
    assert not engine.cancelled


@on_a_loop
async def test_where_many_run_all_but_the_first_token_wait_for_each_other() -> None:
    engine, generations, pieces = begin(others=MANY)
    piece = await ready(pieces)
    await engine.say("a")
    assert (await piece).text == "a"
    piece = await ready(pieces)
    for letter in "bcd":
        await engine.say(letter)
        await asyncio.sleep(0.01)
        assert not piece.done()
    await engine.say("e", "stop")
    assert (await piece)[:4] == ("bcde", tuple(map(ord, "bcde")), (), "stop")
    assert [each async for each in pieces] == []
    assert generations.running == MANY


@on_a_loop
async def test_what_has_waited_is_given_when_it_is_due() -> None:
    engine, generations, pieces = begin(others=MANY)
    piece = await ready(pieces)
    await engine.say("a")
    generations.running = 5
    assert (await piece).text == "a"
    piece = await ready(pieces)
    await engine.say("b")
    assert (await piece).text == "b", "with nothing after it"


@on_a_loop
async def test_an_error_waits_for_nothing() -> None:
    engine, generations, pieces = begin(others=MANY)
    piece = await ready(pieces)
    await engine.say("a")
    await piece
    piece = await ready(pieces)
    await engine.say("b")
    await engine.say("", "error", UnavailableError("gone"))
    with pytest.raises(UnavailableError, match="gone"):
        await piece
    assert generations.running == MANY
    assert not engine.cancelled


@on_a_loop
async def test_leaving_early_ends_it_in_the_engine() -> None:
    engine, generations, pieces = begin(others=3)
    piece = await ready(pieces)
    assert generations.running == 3, "it waits for its turn, and makes nobody wait"
    await engine.say("a")
    await piece
    assert generations.running == 4
    await pieces.aclose()
    assert engine.cancelled == [7]
    assert generations.running == 3
    await engine.say("b")
