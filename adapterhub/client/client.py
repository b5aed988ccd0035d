"""A client of the gRPC service: plain values in, plain tuples out, errors of the project's own tree."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Self, TypeVar, Unpack

from adapterhub.client.answers import Generation, Piece, ServedAdapter, ServerInfo
from adapterhub.client.calls import Call, Calls
from adapterhub.client.connection import Tls, authorization, connect
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


class Client:
    """A connection to one server, made on first use. Safe to share between threads.

    Every method raises the error the server met, from `adapterhub.errors`, and UnavailableError
    when there is no server. `timeout` is in seconds; None waits for ever.
    """

    def __init__(self, address: str = DEFAULT_ADDRESS, *, api_key: str = "", tls: Tls | None = None) -> None:
        """Without `tls` the connection is in the clear. Raises ConfigError for certificates that cannot be read."""
        self.address = address
        self._channel = connect(address, tls)
        self._calls = Calls(self._channel)
        self._metadata = authorization(api_key)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up; calls under way are cancelled."""
        self._channel.close()

    def wait_ready(self, timeout: float) -> None:
        """Return once the server serves. Raises UnavailableError when it does not in time."""
        if not self._ask(self._calls.serving(), timeout, wait_for_ready=True):
            raise UnavailableError(f"the server at {self.address} is not serving")

    def generate(
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
        """Generate to the end. `prompt` is text, token ids or the turns of a chat, with tools a `Chat`.

        `adapter` is a reference; a `task` is routed to one, the same for the same `route_key`; a `blend` is served the
        weighted sum of what several adapters change, `{reference: weight}`; without any, the bare base answers, or what
        the server's router picks. The adapter's recorded prompt format applies unless `kind` or `system_prompt` (a
        chat's) is given. `n` answers are given, the likeliest of `best_of` where that is more. The text will be what
        `structure` asks.
        """
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
        return self._ask(self._calls.generate(request), timeout)

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
    ) -> Generator[Piece, None, None]:
        """As `generate`, in pieces as they become ready, all answers' mixed. It begins with the first piece asked for.

        Closing the iterator ends the generation.
        """
        request = generate_request(
            prompt, adapter, task, route_key, kind, system_prompt, sampling, n=n, structure=structure, blend=blend
        )
        return self._stream(self._calls.generate_stream(request), timeout)

    def tokenize(
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
        return self._ask(self._calls.tokenize(request), timeout)

    def load(self, adapter: str, *, timeout: float | None = None) -> ServedAdapter:
        """Begin to load an adapter; its state now. `watch` tells how it goes on."""
        return self._ask(self._calls.load(adapter), timeout)

    def get(self, adapter: str, *, timeout: float | None = None) -> ServedAdapter:
        """One adapter the server knows."""
        return self._ask(self._calls.get(adapter), timeout)

    def pin(self, adapter: str, *, timeout: float | None = None) -> ServedAdapter:
        """Load an adapter and keep it resident; its state now."""
        return self._ask(self._calls.pin(adapter), timeout)

    def unpin(self, adapter: str, *, timeout: float | None = None) -> ServedAdapter:
        """Undo `pin`; its state now."""
        return self._ask(self._calls.unpin(adapter), timeout)

    def watch(self, adapter: str, *, timeout: float | None = None) -> Generator[ServedAdapter, None, None]:
        """The adapter's state now and at every change, until it is unloaded. Closing the iterator ends it."""
        return self._stream(self._calls.watch(adapter), timeout)

    def unload(self, adapter: str, *, timeout: float | None = None) -> str:
        """End an adapter's service; what runs on it ends first. Returns its digest."""
        return self._ask(self._calls.unload(adapter), timeout)

    def list(self, *, timeout: float | None = None) -> tuple[ServedAdapter, ...]:
        """The adapters the server knows."""
        return self._ask(self._calls.list(), timeout)

    def routes(self, *, timeout: float | None = None) -> tuple[Route, ...]:
        """Every route, by task."""
        return self._ask(self._calls.routes(), timeout)

    def set_route(self, route: Route, *, timeout: float | None = None) -> None:
        """Make a route, or replace the task's present one."""
        self._ask(self._calls.set_route(route), timeout)

    def delete_route(self, task: str, *, timeout: float | None = None) -> None:
        """Delete a task's route."""
        self._ask(self._calls.delete_route(task), timeout)

    def info(self, *, timeout: float | None = None) -> ServerInfo:
        """The server's base and counters."""
        return self._ask(self._calls.info(), timeout)

    def _ask(self, call: Call[T], timeout: float | None, **options: bool) -> T:
        with told(self.address):
            return call.read(call.method(call.request, timeout=timeout, metadata=self._metadata, **options))

    def _stream(self, call: Call[T], timeout: float | None) -> Generator[T, None, None]:
        with told(self.address):
            answers = call.method(call.request, timeout=timeout, metadata=self._metadata)
            try:
                yield from map(call.read, answers)
            finally:
                answers.cancel()
