"""The client for asyncio is the other client, awaited."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from serving import LONG, Serving, serving

import adapterhub
from adapterhub.base import BaseModel
from adapterhub.client import AioClient, Client, Route, RouteTarget, Structure, Turn
from adapterhub.errors import AdapterNotFoundError, InvalidInputError, UnavailableError

PROMPT = "naïve café, 東京"
PUBLIC = [name for name in vars(Client) if not name.startswith("_")]


@pytest.fixture(scope="module")
def server(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    base = BaseModel.load(str(tiny_base), quantization="none")
    with serving(base, tmp_path_factory.mktemp("serving")) as running:
        yield running


def ask(server: Serving, work: Callable[[AioClient], Coroutine[Any, Any, None]]) -> None:
    """Run `work` with a client, on an event loop of its own."""

    async def with_client() -> None:
        async with AioClient(server.address) as client:
            await work(client)

    asyncio.run(with_client())


@pytest.mark.parametrize("name", PUBLIC)
def test_it_has_every_method_of_the_other_with_the_same_parameters(name: str) -> None:
    assert inspect.signature(getattr(AioClient, name)).parameters == inspect.signature(getattr(Client, name)).parameters


def test_both_are_public_names_of_the_package() -> None:
    assert (adapterhub.Client, adapterhub.AioClient) == (Client, AioClient)


def test_it_answers_as_the_other(server: Serving) -> None:
    server.publish("aio")

    async def work(client: AioClient) -> None:
        await client.wait_ready(timeout=30)
        whole = await client.generate(PROMPT, adapter="aio", max_new_tokens=12)
        pieces = [piece async for piece in client.generate_stream(PROMPT, adapter="aio", max_new_tokens=12)]
        assert "".join(piece.text for piece in pieces) == whole.text
        assert whole.token_ids == server.client.generate(PROMPT, adapter="aio", max_new_tokens=12).token_ids
        held = await client.generate(PROMPT, adapter="aio", structure=Structure(choice=("yes", "no")))
        same = server.client.generate(PROMPT, adapter="aio", structure=Structure(choice=("yes", "no")))
        assert (held.text, held.finish_reason) == (same.text, "stop")
        assert held.text in ("yes", "no")
        pieces = [piece async for piece in client.generate_stream(PROMPT, structure=Structure(regex="[0-9]{3}"))]
        assert "".join(piece.text for piece in pieces).isdigit()
        assert await client.tokenize([Turn("user", PROMPT)]) == server.client.tokenize([Turn("user", PROMPT)])
        assert (await client.info()).base_digest == server.client.info().base_digest

    ask(server, work)


def test_it_manages_adapters_and_routes(server: Serving) -> None:
    digest = server.publish("managed").digest

    async def work(client: AioClient) -> None:
        await client.load("managed")
        async with aclosing(client.watch("managed", timeout=30)) as states:
            async for known in states:
                if known.state == "resident":
                    break
        assert (await client.pin("managed")).pinned
        assert not (await client.unpin("managed")).pinned
        assert await client.get("managed") in await client.list()
        assert await client.unload("managed") == digest
        route = Route("chore", (RouteTarget("managed"),))
        await client.set_route(route)
        assert await client.routes() == (route,)
        await client.delete_route("chore")
        assert await client.routes() == ()

    ask(server, work)


def test_it_raises_the_errors_of_the_tree(server: Serving) -> None:
    async def work(client: AioClient) -> None:
        with pytest.raises(AdapterNotFoundError) as missing:
            await client.generate(PROMPT, adapter="nowhere")
        assert missing.value.resource == "nowhere:latest"
        with pytest.raises(AdapterNotFoundError):
            await anext(client.generate_stream(PROMPT, adapter="nowhere"))
        with pytest.raises(InvalidInputError, match="temperature"):
            await client.generate(PROMPT, temperature=11)

    ask(server, work)


def test_without_a_server_it_says_so() -> None:
    async def work() -> None:
        async with AioClient("127.0.0.1:1") as client:
            with pytest.raises(UnavailableError, match=r"no server at 127\.0\.0\.1:1"):
                await client.info()

    asyncio.run(work())


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
def test_cancelling_a_task_ends_its_generation(server: Serving, stream: bool) -> None:
    async def work(client: AioClient) -> None:
        async def pieces() -> None:
            async for _ in client.generate_stream(PROMPT, max_new_tokens=LONG, ignore_eos=True):
                pass

        async def whole() -> None:
            await client.generate(PROMPT, max_new_tokens=LONG, ignore_eos=True)

        task = asyncio.create_task(pieces() if stream else whole())
        await asyncio.to_thread(server.wait_until, lambda: server.engine.stats().running > 0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(server.wait_idle)  # the connection is still open

    with server.cut_short():
        ask(server, work)


def test_closing_a_stream_ends_its_generation(server: Serving) -> None:
    async def work(client: AioClient) -> None:
        async with aclosing(client.generate_stream(PROMPT, max_new_tokens=LONG, ignore_eos=True)) as pieces:
            assert (await anext(pieces)).token_ids
        await asyncio.to_thread(server.wait_idle)  # the connection is still open

    with server.cut_short():
        ask(server, work)
