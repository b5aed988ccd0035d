"""The gRPC server over one engine: its port, its services, its health."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from adapterhub.engine import Engine
from adapterhub.errors import UnavailableError
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
from adapterhub.prompt_router import PromptRouter
from adapterhub.store import Store
from adapterhub_server.access import Access
from adapterhub_server.adapters import AdaptersServicer
from adapterhub_server.answers import Answers
from adapterhub_server.behind import Behind
from adapterhub_server.calls import Calls, Observer
from adapterhub_server.catalog import Catalog
from adapterhub_server.credentials import CertificateFiles, credentials
from adapterhub_server.door import Door
from adapterhub_server.hub_adapters import Download, nothing
from adapterhub_server.inference import InferenceServicer
from adapterhub_server.info import ServerServicer
from adapterhub_server.logs import log_call
from adapterhub_server.metrics import Metrics
from adapterhub_server.ports import cannot_listen
from adapterhub_server.prompt_picks import PromptPicks
from adapterhub_server.requests import Requests
from adapterhub_server.route_table import RouteTable
from adapterhub_server.router import Router
from adapterhub_server.routes_service import RoutesServicer

NAMES = tuple(
    service.full_name
    for module in (inference_pb2, adapters_pb2, routes_pb2, server_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
)
"""Our services, as their descriptors name them."""

MAX_MESSAGE_BYTES = 4 << 20
MAX_METADATA_BYTES = 16 << 10
KEEPALIVE_SECONDS = 20.0
"""Of silence, after which a client is asked for a sign of life, and again until it is given up."""
WATCH_SECONDS = 0.5
"""Between two looks at the engine."""
OPTIONS = (
    # Without this, a second server on the same port takes half of the first one's connections.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
)


class Service:
    """Made on the event loop it serves on. The port is bound at once and answered from `start` on.

    Raises UnavailableError when the port cannot be bound, and ConfigError for certificates that cannot be read.
    """

    def __init__(
        self,
        host: str,
        port: int,
        access: Access | None = None,
        certificates: CertificateFiles | None = None,
        observers: Iterable[Observer] = (),
        keepalive: float = KEEPALIVE_SECONDS,
    ) -> None:
        """Without `access` everybody may everything; without `certificates` there is no TLS.

        A client that does not answer is dropped after twice `keepalive` seconds, and what it asked for ends.

        `observers` are told of each call that has ended, as the log and the metrics are.
        """
        secure = credentials(certificates) if certificates else None
        self.metrics = Metrics()
        self.calls = Calls(access or Access(), (log_call, self.metrics.ended, *observers))
        """For other doors to the same engine."""
        self._server = grpc.aio.server(interceptors=[Door(self.calls)], options=OPTIONS + _keepalive(keepalive))
        self._health = health.aio.HealthServicer()
        self.address = _bind(self._server, host, port, secure)
        self.engine_died = asyncio.Event()
        """Set once the engine's thread has ended, which it does by itself only when it has lost track of something."""
        self._watching: asyncio.Task[None] | None = None

    async def start(
        self,
        engine: Engine,
        store: Store,
        routes: RouteTable,
        preload: Iterable[str] = (),
        download: Download = nothing,
        router: PromptRouter | None = None,
    ) -> Behind:
        """Load what is to be resident from the start, then serve; what other doors answer from.

        Raises as `Catalog.resident`.
        """
        catalog = Catalog(engine, store, download)
        for ref in preload:
            await catalog.pin(ref)
            await catalog.resident(ref)
        self.metrics.watch(engine, catalog.names)
        picks = PromptPicks(router, store, engine.base.record, engine.methods) if router else None
        requests = Requests(engine, catalog, Router(routes, picks))
        answers = Answers(engine, requests, self.metrics)
        inference = InferenceServicer(answers, requests)
        adapters = AdaptersServicer(catalog)
        inference_pb2_grpc.add_InferenceServicer_to_server(inference, self._server)  # type: ignore[no-untyped-call]
        adapters_pb2_grpc.add_AdaptersServicer_to_server(adapters, self._server)  # type: ignore[no-untyped-call]
        routes_pb2_grpc.add_RoutesServicer_to_server(RoutesServicer(routes), self._server)  # type: ignore[no-untyped-call]
        server_pb2_grpc.add_ServerServicer_to_server(ServerServicer(engine), self._server)  # type: ignore[no-untyped-call]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection([*NAMES, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server)
        await self._tell(health_pb2.HealthCheckResponse.SERVING)
        await self._server.start()
        self._watching = asyncio.create_task(self._watch(engine))
        return Behind(self.calls, answers, requests, catalog, engine, store)

    async def stop(self, grace: float) -> None:
        """Tell health, take no new calls, and cancel what still runs after `grace` seconds."""
        if self._watching is not None:
            self._watching.cancel()
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace)

    async def _watch(self, engine: Engine) -> None:
        """Whoever asks for health learns that the engine has died, and so does `engine_died`."""
        while engine.alive:
            await asyncio.sleep(WATCH_SECONDS)
        await self._tell(health_pb2.HealthCheckResponse.NOT_SERVING)
        self.engine_died.set()

    async def _tell(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        for name in ("", *NAMES):
            await self._health.set(name, status)


def _keepalive(seconds: float) -> tuple[tuple[str, int], ...]:
    names = ("grpc.keepalive_time_ms", "grpc.keepalive_timeout_ms", "grpc.http2.ping_timeout_ms")
    return tuple((name, round(1000 * seconds)) for name in names)


def _bind(server: grpc.aio.Server, host: str, port: int, secure: grpc.ServerCredentials | None) -> str:
    """Bind the port, and the address it became."""
    _check_free(host, port)
    name = f"[{host}]" if ":" in host else host
    try:
        address = f"{name}:{port}"
        bound = server.add_secure_port(address, secure) if secure else server.add_insecure_port(address)
        return f"{name}:{bound}"
    except RuntimeError as error:
        raise UnavailableError(f"cannot listen on {host}, port {port}: {error}") from None


def _check_free(host: str, port: int) -> None:
    """Raises UnavailableError saying why a port cannot be bound, which gRPC does not."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise cannot_listen(error, host, port, "--port") from None
