"""Every call of the service: what is sent, and how its answer is read. The same for both clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc

from adapterhub.client.answers import Generation, Piece, ServedAdapter, ServerInfo
from adapterhub.client.routes import Route
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

T = TypeVar("T")


class Call(NamedTuple, Generic[T]):
    """One call, not made yet."""

    method: Any
    """Of a stub; the channel decides whether its result is there or awaited."""
    request: Message
    read: Callable[[Any], T]
    """What the answer's message, or each message of a stream, says."""


class Calls:
    """Makes them for one channel, of grpc or of grpc.aio."""

    def __init__(self, channel: Any) -> None:
        self._inference = inference_pb2_grpc.InferenceStub(channel)  # type: ignore[no-untyped-call]
        self._adapters = adapters_pb2_grpc.AdaptersStub(channel)  # type: ignore[no-untyped-call]
        self._routes = routes_pb2_grpc.RoutesStub(channel)  # type: ignore[no-untyped-call]
        self._server = server_pb2_grpc.ServerStub(channel)  # type: ignore[no-untyped-call]
        self._health = health_pb2_grpc.HealthStub(channel)

    def serving(self) -> Call[bool]:
        return Call(self._health.Check, health_pb2.HealthCheckRequest(), _is_serving)

    def generate(self, request: inference_pb2.GenerateRequest) -> Call[Generation]:
        return Call(self._inference.Generate, request, Generation.of)

    def generate_stream(self, request: inference_pb2.GenerateRequest) -> Call[Piece]:
        return Call(self._inference.GenerateStream, request, Piece.of)

    def tokenize(self, request: inference_pb2.TokenizeRequest) -> Call[tuple[int, ...]]:
        return Call(self._inference.Tokenize, request, lambda answer: tuple(answer.token_ids))

    def load(self, adapter: str) -> Call[ServedAdapter]:
        return Call(self._adapters.Load, adapters_pb2.LoadAdapterRequest(adapter=adapter), _adapter)

    def get(self, adapter: str) -> Call[ServedAdapter]:
        return Call(self._adapters.Get, adapters_pb2.GetAdapterRequest(adapter=adapter), _adapter)

    def pin(self, adapter: str) -> Call[ServedAdapter]:
        return Call(self._adapters.Pin, adapters_pb2.PinAdapterRequest(adapter=adapter), _adapter)

    def unpin(self, adapter: str) -> Call[ServedAdapter]:
        return Call(self._adapters.Unpin, adapters_pb2.UnpinAdapterRequest(adapter=adapter), _adapter)

    def watch(self, adapter: str) -> Call[ServedAdapter]:
        return Call(self._adapters.Watch, adapters_pb2.WatchAdapterRequest(adapter=adapter), _adapter)

    def unload(self, adapter: str) -> Call[str]:
        request = adapters_pb2.UnloadAdapterRequest(adapter=adapter)
        return Call(self._adapters.Unload, request, lambda answer: str(answer.digest))

    def list(self) -> Call[tuple[ServedAdapter, ...]]:
        return Call(self._adapters.List, adapters_pb2.ListAdaptersRequest(), _adapters)

    def routes(self) -> Call[tuple[Route, ...]]:
        request = routes_pb2.ListRoutesRequest()
        return Call(self._routes.List, request, lambda answer: tuple(map(Route.of, answer.routes)))

    def set_route(self, route: Route) -> Call[None]:
        return Call(self._routes.Set, routes_pb2.SetRouteRequest(route=route.message()), _nothing)

    def delete_route(self, task: str) -> Call[None]:
        return Call(self._routes.Delete, routes_pb2.DeleteRouteRequest(task=task), _nothing)

    def info(self) -> Call[ServerInfo]:
        return Call(self._server.Info, server_pb2.InfoRequest(), ServerInfo.of)


def _adapter(answer: Any) -> ServedAdapter:
    return ServedAdapter.of(answer.adapter)


def _adapters(answer: adapters_pb2.ListAdaptersResponse) -> tuple[ServedAdapter, ...]:
    return tuple(map(ServedAdapter.of, answer.adapters))


def _nothing(answer: Message) -> None:
    """An answer that only says that it was done."""


def _is_serving(answer: health_pb2.HealthCheckResponse) -> bool:
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
