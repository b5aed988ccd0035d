"""A client of the gRPC service: plain values in, plain tuples out, errors of the project's own tree."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Self, Unpack

import grpc
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from adapterhub.client.answers import Generation, Piece, ServedAdapter, ServerInfo
from adapterhub.client.connection import Tls, connect
from adapterhub.client.requests import FormatKind, Prompt, SamplingOptions, Turn, generate_request, tokenize_request
from adapterhub.client.routes import Route
from adapterhub.client.statuses import from_status
from adapterhub.errors import AdapterHubError, UnavailableError
from adapterhub.pb.v1 import (
    adapters_pb2,
    adapters_pb2_grpc,
    inference_pb2,
    inference_pb2_grpc,
    routes_pb2,
    routes_pb2_grpc,
    server_pb2,
    server_pb2_grpc,
)

DEFAULT_ADDRESS = "127.0.0.1:50151"


class Client:
    """A connection to one server, made on first use. Safe to share between threads.

    Every method raises the error the server met, from `adapterhub.errors`, and UnavailableError
    when there is no server. `timeout` is in seconds; None waits for ever.
    """

    def __init__(self, address: str = DEFAULT_ADDRESS, *, api_key: str = "", tls: Tls | None = None) -> None:
        """Without `tls` the connection is in the clear. Raises ConfigError for certificates that cannot be read."""
        self.address = address
        self._channel = connect(address, api_key, tls)
        self._inference = inference_pb2_grpc.InferenceStub(self._channel)  # type: ignore[no-untyped-call]
        self._adapters = adapters_pb2_grpc.AdaptersStub(self._channel)  # type: ignore[no-untyped-call]
        self._routes = routes_pb2_grpc.RoutesStub(self._channel)  # type: ignore[no-untyped-call]
        self._server = server_pb2_grpc.ServerStub(self._channel)  # type: ignore[no-untyped-call]
        self._health = health_pb2_grpc.HealthStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up; calls under way are cancelled."""
        self._channel.close()

    def wait_ready(self, timeout: float) -> None:
        """Return once the server serves. Raises UnavailableError when it does not in time."""
        with self._errors():
            answer = self._health.Check(health_pb2.HealthCheckRequest(), timeout=timeout, wait_for_ready=True)
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            raise UnavailableError(f"the server at {self.address} is not serving")

    def generate(
        self,
        prompt: Prompt,
        *,
        adapter: str = "",
        task: str = "",
        route_key: str = "",
        kind: FormatKind | None = None,
        system_prompt: str | None = None,
        timeout: float | None = None,
        **sampling: Unpack[SamplingOptions],
    ) -> Generation:
        """Generate to the end. `prompt` is text, token ids or the turns of a chat.

        `adapter` is a reference; a `task` is routed to one, the same for the same `route_key`; without either
        the bare base answers, or what the server's router picks. The adapter's recorded prompt format applies
        unless `kind` or `system_prompt` (a chat's) is given.
        """
        request = generate_request(prompt, adapter, task, route_key, kind, system_prompt, sampling)
        with self._errors():
            return Generation.of(self._inference.Generate(request, timeout=timeout))

    def generate_stream(
        self,
        prompt: Prompt,
        *,
        adapter: str = "",
        task: str = "",
        route_key: str = "",
        kind: FormatKind | None = None,
        system_prompt: str | None = None,
        timeout: float | None = None,
        **sampling: Unpack[SamplingOptions],
    ) -> Generator[Piece, None, None]:
        """As `generate`, in pieces as they become ready. It begins with the first piece asked for.

        Closing the iterator ends the generation.
        """
        return self._stream(generate_request(prompt, adapter, task, route_key, kind, system_prompt, sampling), timeout)

    def tokenize(
        self,
        prompt: str | Sequence[Turn],
        *,
        adapter: str = "",
        kind: FormatKind | None = None,
        system_prompt: str | None = None,
        timeout: float | None = None,
    ) -> tuple[int, ...]:
        """The token ids that a prompt has in a generation of the adapter."""
        request = tokenize_request(prompt, adapter, kind, system_prompt)
        with self._errors():
            return tuple(self._inference.Tokenize(request, timeout=timeout).token_ids)

    def load(self, adapter: str, *, timeout: float | None = None) -> ServedAdapter:
        """Begin to load an adapter; its state now. `watch` tells how it goes on."""
        with self._errors():
            answer = self._adapters.Load(adapters_pb2.LoadAdapterRequest(adapter=adapter), timeout=timeout)
        return ServedAdapter.of(answer.adapter)

    def get(self, adapter: str, *, timeout: float | None = None) -> ServedAdapter:
        """One adapter the server knows."""
        with self._errors():
            answer = self._adapters.Get(adapters_pb2.GetAdapterRequest(adapter=adapter), timeout=timeout)
        return ServedAdapter.of(answer.adapter)

    def pin(self, adapter: str, *, timeout: float | None = None) -> ServedAdapter:
        """Load an adapter and keep it resident; its state now."""
        with self._errors():
            answer = self._adapters.Pin(adapters_pb2.PinAdapterRequest(adapter=adapter), timeout=timeout)
        return ServedAdapter.of(answer.adapter)

    def unpin(self, adapter: str, *, timeout: float | None = None) -> ServedAdapter:
        """Undo `pin`; its state now."""
        with self._errors():
            answer = self._adapters.Unpin(adapters_pb2.UnpinAdapterRequest(adapter=adapter), timeout=timeout)
        return ServedAdapter.of(answer.adapter)

    def watch(self, adapter: str, *, timeout: float | None = None) -> Generator[ServedAdapter, None, None]:
        """The adapter's state now and at every change, until it is unloaded. Closing the iterator ends it."""
        with self._errors():
            call = self._adapters.Watch(adapters_pb2.WatchAdapterRequest(adapter=adapter), timeout=timeout)
            try:
                yield from (ServedAdapter.of(answer.adapter) for answer in call)
            finally:
                call.cancel()

    def unload(self, adapter: str, *, timeout: float | None = None) -> str:
        """End an adapter's service; what runs on it ends first. Returns its digest."""
        with self._errors():
            answer = self._adapters.Unload(adapters_pb2.UnloadAdapterRequest(adapter=adapter), timeout=timeout)
        return str(answer.digest)

    def list(self, *, timeout: float | None = None) -> tuple[ServedAdapter, ...]:
        """The adapters the server knows."""
        with self._errors():
            answer = self._adapters.List(adapters_pb2.ListAdaptersRequest(), timeout=timeout)
        return tuple(map(ServedAdapter.of, answer.adapters))

    def routes(self, *, timeout: float | None = None) -> tuple[Route, ...]:
        """Every route, by task."""
        with self._errors():
            return tuple(map(Route.of, self._routes.List(routes_pb2.ListRoutesRequest(), timeout=timeout).routes))

    def set_route(self, route: Route, *, timeout: float | None = None) -> None:
        """Make a route, or replace the task's present one."""
        with self._errors():
            self._routes.Set(routes_pb2.SetRouteRequest(route=route.message()), timeout=timeout)

    def delete_route(self, task: str, *, timeout: float | None = None) -> None:
        """Delete a task's route."""
        with self._errors():
            self._routes.Delete(routes_pb2.DeleteRouteRequest(task=task), timeout=timeout)

    def info(self, *, timeout: float | None = None) -> ServerInfo:
        """The server's base and counters."""
        with self._errors():
            return ServerInfo.of(self._server.Info(server_pb2.InfoRequest(), timeout=timeout))

    def _stream(self, request: inference_pb2.GenerateRequest, timeout: float | None) -> Generator[Piece, None, None]:
        with self._errors():
            call = self._inference.GenerateStream(request, timeout=timeout)
            try:
                yield from map(Piece.of, call)
            finally:
                call.cancel()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raises what a call raised as an error of the tree."""
        try:
            yield
        except grpc.RpcError as error:
            raise self._error(error) from None

    def _error(self, call: grpc.RpcError) -> AdapterHubError:
        assert isinstance(call, grpc.Call)
        try:
            status = rpc_status.from_call(call)
        except ValueError:  # details of another status than the call's
            status = None
        if status is not None:
            return from_status(status)
        if call.code() is grpc.StatusCode.UNAVAILABLE:
            return UnavailableError(f"no server at {self.address}; is it running? start one: adapterhub serve")
        if call.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return UnavailableError(f"no answer from {self.address} in time")
        return from_status(Status(code=call.code().value[0], message=f"{call.code().name}: {call.details()}"))
