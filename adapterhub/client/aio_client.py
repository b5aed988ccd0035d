"""The same client for asyncio."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Self, TypeVar, Unpack

from adapterhub.client.answers import Generation, Piece, ServedAdapter, ServerInfo
from adapterhub.client.calls import Call, Calls
from adapterhub.client.connection import Tls, authorization, connect_aio
from adapterhub.client.failures import told
from adapterhub.client.requests import (
    Chat,
    FormatKind,
    Prompt,
    SamplingOptions,
    Turn,
    generate_request,
    tokenize_request,
)
from adapterhub.client.routes import Route
from adapterhub.errors import UnavailableError
from adapterhub.settings import DEFAULT_ADDRESS
from adapterhub.structure import Structure

T = TypeVar("T")


class AioClient:
    """`Client` with every method awaited. Made on the event loop it is used on.

    Cancelling a task that awaits a call ends what it asked for on the server.
    """

    def __init__(self, address: str = DEFAULT_ADDRESS, *, api_key: str = "", tls: Tls | None = None) -> None:
        """Without `tls` the connection is in the clear. Raises ConfigError for certificates that cannot be read."""
        self.address = address
        self._channel = connect_aio(address, tls)
        self._calls = Calls(self._channel)
        self._metadata = authorization(api_key)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Hang up; calls under way are cancelled."""
        await self._channel.close()

    async def wait_ready(self, timeout: float) -> None:
        """Return once the server serves. Raises UnavailableError when it does not in time."""
        if not await self._ask(self._calls.serving(), timeout, wait_for_ready=True):
            raise UnavailableError(f"the server at {self.address} is not serving")

    async def generate(
        self,
        prompt: Prompt,
        *,
        adapter: str = "",
        task: str = "",
        route_key: str = "",
        blend: Mapping[str, float] | None = None,
        kind: FormatKind | None = None,
        system_prompt: str | None = None,
        n: int | None = None,
        best_of: int | None = None,
        structure: Structure | None = None,
        timeout: float | None = None,
        **sampling: Unpack[SamplingOptions],
    ) -> Generation:
        """As `Client.generate`."""
        request = generate_request(
            prompt,
            adapter,
            task,
            route_key,
            kind,
            system_prompt,
            sampling,
            n=n,
            best_of=best_of,
            structure=structure,
            blend=blend,
        )
        return await self._ask(self._calls.generate(request), timeout)

    def generate_stream(
        self,
        prompt: Prompt,
        *,
        adapter: str = "",
        task: str = "",
        route_key: str = "",
        blend: Mapping[str, float] | None = None,
        kind: FormatKind | None = None,
        system_prompt: str | None = None,
        n: int | None = None,
        structure: Structure | None = None,
        timeout: float | None = None,
        **sampling: Unpack[SamplingOptions],
    ) -> AsyncGenerator[Piece]:
        """As `generate`, in pieces as they become ready, all answers' mixed. It begins with the first piece asked for.

        Closing the iterator ends the generation; whoever leaves it early closes it (`contextlib.aclosing`).
        """
        request = generate_request(
            prompt, adapter, task, route_key, kind, system_prompt, sampling, n=n, structure=structure, blend=blend
        )
        return self._stream(self._calls.generate_stream(request), timeout)

    async def tokenize(
        self,
        prompt: str | Sequence[Turn] | Chat,
        *,
        adapter: str = "",
        kind: FormatKind | None = None,
        system_prompt: str | None = None,
        timeout: float | None = None,
    ) -> tuple[int, ...]:
        """The token ids that a prompt has in a generation of the adapter."""
        request = tokenize_request(prompt, adapter, kind, system_prompt)
        return await self._ask(self._calls.tokenize(request), timeout)

    async def load(self, adapter: str, *, timeout: float | None = None) -> ServedAdapter:
        """Begin to load an adapter; its state now. `watch` tells how it goes on."""
        return await self._ask(self._calls.load(adapter), timeout)

    async def get(self, adapter: str, *, timeout: float | None = None) -> ServedAdapter:
        """One adapter the server knows."""
        return await self._ask(self._calls.get(adapter), timeout)

    async def pin(self, adapter: str, *, timeout: float | None = None) -> ServedAdapter:
        """Load an adapter and keep it resident; its state now."""
        return await self._ask(self._calls.pin(adapter), timeout)

    async def unpin(self, adapter: str, *, timeout: float | None = None) -> ServedAdapter:
        """Undo `pin`; its state now."""
        return await self._ask(self._calls.unpin(adapter), timeout)

    def watch(self, adapter: str, *, timeout: float | None = None) -> AsyncGenerator[ServedAdapter]:
        """The adapter's state now and at every change, until it is unloaded. Closing the iterator ends it."""
        return self._stream(self._calls.watch(adapter), timeout)

    async def unload(self, adapter: str, *, timeout: float | None = None) -> str:
        """End an adapter's service; what runs on it ends first. Returns its digest."""
        return await self._ask(self._calls.unload(adapter), timeout)

    async def list(self, *, timeout: float | None = None) -> tuple[ServedAdapter, ...]:
        """The adapters the server knows."""
        return await self._ask(self._calls.list(), timeout)

    async def routes(self, *, timeout: float | None = None) -> tuple[Route, ...]:
        """Every route, by task."""
        return await self._ask(self._calls.routes(), timeout)

    async def set_route(self, route: Route, *, timeout: float | None = None) -> None:
        """Make a route, or replace the task's present one."""
        await self._ask(self._calls.set_route(route), timeout)

    async def delete_route(self, task: str, *, timeout: float | None = None) -> None:
        """Delete a task's route."""
        await self._ask(self._calls.delete_route(task), timeout)

    async def info(self, *, timeout: float | None = None) -> ServerInfo:
        """The server's base and counters."""
        return await self._ask(self._calls.info(), timeout)

    async def _ask(self, call: Call[T], timeout: float | None, **options: bool) -> T:
        with told(self.address):
            return call.read(await call.method(call.request, timeout=timeout, metadata=self._metadata, **options))

    async def _stream(self, call: Call[T], timeout: float | None) -> AsyncGenerator[T]:
        with told(self.address):
            answers = call.method(call.request, timeout=timeout, metadata=self._metadata)
            try:
                async for answer in answers:
                    yield call.read(answer)
            finally:
                answers.cancel()
