"""A server from its settings to its end."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from adapterhub.base import BaseModel
from adapterhub.engine import Engine
from adapterhub.errors import AdapterHubError, ConfigError, EngineStoppedError
from adapterhub.plugins import load_routers
from adapterhub.store import Store
from adapterhub_server.access import Access
from adapterhub_server.config import ServeConfig
from adapterhub_server.credentials import CertificateFiles
from adapterhub_server.hub_adapters import from_hub
from adapterhub_server.keys import Keys
from adapterhub_server.metrics_endpoint import MetricsEndpoint
from adapterhub_server.route_table import RouteTable
from adapterhub_server.service import Service
from adapterhub_server.tracing import tracing

if TYPE_CHECKING:
    from adapterhub_server.http.http_service import HttpService  # of an extra

log = logging.getLogger(__name__)

ENGINE = (
    "max_requests",
    "max_sequences",
    "kv_tokens",
    "max_context",
    "step_tokens",
    "adapter_bytes",
    "host_adapter_bytes",
    "cuda_graphs",
)
"""The settings that are the engine's, by its own names."""


class Addresses(NamedTuple):
    """Where a server listens; the URLs are empty for what there is not."""

    grpc: str
    http: str
    metrics: str
    playground: str = ""


async def serve(config: ServeConfig, announce: Callable[[Addresses, Engine], None]) -> None:
    """Serve until SIGTERM or SIGINT.

    `announce` is called once requests are answered.
    Raises EngineStoppedError when the engine ends by itself, and what does not let the server start.
    """
    access = Access(Keys(config.keys) if config.keys else None, max_calls=config.max_calls)
    router = load_routers().get(config.router) if config.router else None
    with ExitStack() as stack:
        traces = tracing(os.environ)
        if traces:
            stack.callback(traces.close)
        # First, so that a port in use is told before the base loads.
        service = Service(
            config.host, config.port, access, _certificates(config), observers=[traces.ended] if traces else []
        )
        web = _web(config)
        metrics = ""
        if config.metrics_port is not None:
            endpoint = MetricsEndpoint(config.metrics_host, config.metrics_port, service.metrics.registry)
            metrics = stack.enter_context(endpoint).url
        base = BaseModel.load(config.base, quantization=config.quantize)
        engine = stack.enter_context(Engine(base, **config.model_dump(include=set(ENGINE))))
        await _prepare(engine)
        store = Store.default()
        own = store.root / "routes" / f"{base.record.digest.removeprefix('sha256:')}.json"
        routes = RouteTable(config.routes or own)
        behind = await service.start(
            engine, store, routes, config.adapter, from_hub(config.allow_hub, store, config.base), router
        )
        if web is not None:
            await web.start(behind)
        _settle(stack)
        stop = _stop_signal()
        announce(Addresses(service.address, web.url if web else "", metrics, web.page if web else ""), engine)
        stopped, died = (asyncio.create_task(event.wait()) for event in (stop, service.engine_died))
        await asyncio.wait((stopped, died), return_when=asyncio.FIRST_COMPLETED)
        await asyncio.gather(*(door.stop(config.grace) for door in (service, web) if door is not None))
    if service.engine_died.is_set():
        raise EngineStoppedError("the engine has stopped by itself; the log says why")


def _settle(stack: ExitStack) -> None:
    """What is there by now stays: to look through it for garbage holds every request up, for a fifth of a second."""
    gc.collect()
    gc.freeze()
    stack.callback(gc.unfreeze)


async def _prepare(engine: Engine) -> None:
    """Before requests come: it would hold up those that run when the first with a structure comes."""
    try:
        await asyncio.to_thread(engine.prepare_structures)
    except AdapterHubError as error:
        log.warning("requests with a structure will be refused: %s", error)


def _web(config: ServeConfig) -> HttpService | None:
    """The HTTP door, if one is asked for. Raises ConfigError where its extra is missing, and as HttpService."""
    if config.http_port is None:
        return None
    try:
        from adapterhub_server.http.http_service import HttpService
    except ModuleNotFoundError as error:
        raise ConfigError(f"http_port: needs {error.name}: pip install 'adapterhub[http]'", field="http_port") from None
    playground = not config.no_playground
    return HttpService(config.http_host, config.http_port, _certificates(config), playground=playground)


def _certificates(config: ServeConfig) -> CertificateFiles | None:
    if config.tls_cert is None or config.tls_key is None:
        return None
    return CertificateFiles(config.tls_cert, config.tls_key, config.tls_client_ca)


def _stop_signal() -> asyncio.Event:
    """Set by the first signal; a second one ends the process as it would any other."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def stop_once() -> None:
        stop.set()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop_once)
    return stop
