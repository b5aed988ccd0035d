"""A real server in this process, for tests that look at its engine from the inside."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from adapterhub_server.access import Access
from adapterhub_server.behind import Behind
from adapterhub_server.calls import Observer
from adapterhub_server.credentials import CertificateFiles
from adapterhub_server.http.http_service import HttpService
from adapterhub_server.metrics import Metrics
from adapterhub_server.route_table import RouteTable
from adapterhub_server.service import Service
from conftest import save_random_adapter
from torch import Tensor

from adapterhub.adapter import PROVENANCE_FILE, Provenance
from adapterhub.base import BaseModel
from adapterhub.client import Client, Tls
from adapterhub.engine import Engine
from adapterhub.engine.sequence import Sequence
from adapterhub.prompt_router import PromptRouter
from adapterhub.store import AdapterRef, Store

T = TypeVar("T")
SEEDS = itertools.count()
LONG = 300
"""New tokens of a generation that is meant to be under way for a while."""


class Pace:
    """Called at every sampled row; holds the engine up for `seconds`, so that a test can catch it at work."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, sequence: Sequence, logits: Tensor) -> None:
        time.sleep(self.seconds)


class EventLoop:
    """An event loop on a thread of its own."""

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


@dataclass(frozen=True)
class Serving:
    """A running server and what stands behind it."""

    address: str
    client: Client
    engine: Engine
    store: Store
    folder: Path
    pace: Pace
    loop: EventLoop
    metrics: Metrics
    behind: Behind
    web: HttpService | None = None

    @property
    def url(self) -> str:
        """Of the HTTP door."""
        assert self.web is not None
        return self.web.url

    def publish(self, name: str, method: str = "lora", **record: Any) -> AdapterRef:
        """A random adapter that no other equals, in the server's store; its pinned reference.

        With `record`, fields of Provenance, it says that it was trained on the server's base.
        """
        seed = next(SEEDS)
        folder = save_random_adapter(self.folder / str(seed), method, self.engine.base.shape, seed=seed)
        if record:
            record = {"base": self.engine.base.record, "prompt_format": None, **record}
            provenance = Provenance(method=method, **record)
            (folder / PROVENANCE_FILE).write_text(json.dumps(provenance.model_dump()))
        return self.store.publish(folder, name)

    def wait_until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not holds():
            assert time.monotonic() < deadline, "did not come true"
            time.sleep(0.005)

    def wait_idle(self) -> None:
        """Until nothing runs; then every table of the engine must add up."""
        self.wait_until(lambda: not self.engine.stats().running and not self.engine.stats().waiting)
        self.engine.check_integrity()
        assert self.engine.stats().kv_tokens_free == self.engine.stats().kv_tokens_total

    @contextmanager
    def cut_short(self) -> Iterator[None]:
        """What is left running inside must end before it generated LONG tokens, and free all it held."""
        before = self.engine.stats().generated_tokens
        self.pace.seconds = 0.01
        yield
        self.wait_idle()
        assert self.engine.stats().generated_tokens - before < LONG


@contextmanager
def serving(
    base: BaseModel,
    folder: Path,
    store: Store | None = None,
    *,
    access: Access | None = None,
    certificates: CertificateFiles | None = None,
    tls: Tls | None = None,
    router: PromptRouter | None = None,
    observers: Iterable[Observer] = (),
    keepalive: float = 20.0,
    http: bool = False,
    **options: Any,
) -> Iterator[Serving]:
    """A server on a free port of its own event loop, with an empty store; `options` are the engine's.

    With `http`, it has an HTTP door on another port.
    """
    pace = Pace()
    store = store or Store(folder / "store")
    with Engine(base, observe=pace, **options) as engine, EventLoop() as loop:
        service, behind = loop.run(_started(engine, store, access, certificates, router, observers, keepalive))
        web = HttpService("127.0.0.1", 0, certificates) if http else None
        try:
            if web:
                loop.run(web.start(behind))
            with Client(service.address, tls=tls) as client:
                client.wait_ready(timeout=30)
                yield Serving(service.address, client, engine, store, folder, pace, loop, service.metrics, behind, web)
        finally:
            if web:
                loop.run(web.stop(grace=0))
            loop.run(service.stop(grace=0))


async def _started(
    engine: Engine,
    store: Store,
    access: Access | None,
    certificates: CertificateFiles | None,
    router: PromptRouter | None,
    observers: Iterable[Observer],
    keepalive: float,
) -> tuple[Service, Behind]:
    service = Service("127.0.0.1", 0, access, certificates, observers, keepalive)
    return service, await service.start(engine, store, RouteTable(store.root / "routes.json"), router=router)
