"""Which adapters are in memory, and which requests wait for one that is not."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from adapterhub.adapter import Adapter
from adapterhub.engine.host_tier import HostTier
from adapterhub.engine.resident_adapter import ResidentAdapter
from adapterhub.engine.stats import AdapterStatus, Tier
from adapterhub.errors import AdapterHubError, AdapterNotFoundError, EngineStoppedError, UnavailableError

Prepare = Callable[[Adapter, Mapping[str, Tensor]], ResidentAdapter]

LOADERS = 2
"""Threads that read, check and bind."""
FAILURE_SECONDS = 30.0
"""How long a failed load is remembered: until then it fails again at once, with the same reason."""


class Waiter(Protocol):
    """Whoever needs an adapter. Called on any thread, with the pool locked: it only passes the news on."""

    def ready(self, adapter: ResidentAdapter) -> None:
        """It is resident and held for this waiter until released."""

    def failed(self, error: AdapterHubError) -> None:
        """It will not come."""


@dataclass(eq=False)
class _Entry:
    """One known adapter."""

    adapter: Adapter
    waiters: list[Waiter] = field(default_factory=list)
    loading: bool = False
    resident: ResidentAdapter | None = None
    pins: int = 0
    failure: AdapterHubError | None = None
    failed_at: float = 0.0

    @property
    def evictable(self) -> bool:
        return self.resident is not None and not self.resident.running and not self.pins


class AdapterPool:
    """Owns the table of adapters, by content digest, in three tiers: resident, host, disk. Any thread.

    A request holds its adapter from `ready` to `release`. One that is needed and not resident is
    read, checked and bound by background threads, once for all who wait; room is made by evicting
    what nobody holds, the one unused longest first; what finds no room waits in order. An adapter that
    is removed takes no new request and is freed when the last that holds it ends.
    """

    def __init__(self, prepare: Prepare, *, budget: int, host_budget: int) -> None:
        """`budget` and `host_budget` are in bytes."""
        self.budget = budget
        self._prepare = prepare
        self._host = HostTier(host_budget)
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._resident: OrderedDict[str, ResidentAdapter] = OrderedDict()
        """The one unused longest first."""
        self._arriving: deque[tuple[_Entry, ResidentAdapter]] = deque()
        """Ready to run, waiting for room."""
        self._draining: list[ResidentAdapter] = []
        """Removed, still held."""
        self._next_slot = 1
        self._evictions = 0
        self._loaders = ThreadPoolExecutor(LOADERS, thread_name_prefix="adapterhub-load")

    def close(self) -> None:
        """Nothing more is loaded; whoever waits is told."""
        with self._lock:
            self._arriving.clear()
            for entry in self._entries.values():
                self._fail(entry, EngineStoppedError("the engine is not running"))
        self._loaders.shutdown(wait=True, cancel_futures=True)

    @property
    def evictions(self) -> int:
        return self._evictions

    def register(self, adapter: Adapter) -> None:
        """Make an adapter known; it is loaded when somebody needs it."""
        with self._lock:
            self._entries.setdefault(adapter.digest, _Entry(adapter))

    def require(self, digest: str) -> None:
        """Raises AdapterNotFoundError when an adapter is not known, or why it failed a moment ago."""
        with self._lock:
            self._check(digest)

    def acquire(self, digest: str, waiter: Waiter) -> None:
        """Tell `waiter` when the adapter is resident, at once if it is. Raises as `require`."""
        with self._lock:
            entry = self._check(digest)
            if entry.resident is not None:
                self._resident.move_to_end(digest)
                self._hold(entry.resident, waiter)
                return
            entry.waiters.append(waiter)
            if not entry.loading:
                entry.loading = True
                self._loaders.submit(self._load, entry)

    def release(self, adapter: ResidentAdapter) -> None:
        """End one hold."""
        with self._lock:
            adapter.running -= 1
            if not adapter.running and adapter in self._draining:
                self._draining.remove(adapter)
            self._settle()

    def pin(self, digest: str) -> None:
        """Keep an adapter resident once it is. Raises as `require`."""
        with self._lock:
            self._check(digest).pins += 1

    def unpin(self, digest: str) -> None:
        """Undo one pin. Raises AdapterNotFoundError when the adapter is not known."""
        with self._lock:
            entry = self._known(digest)
            entry.pins = max(0, entry.pins - 1)
            self._settle()

    def remove(self, digest: str) -> None:
        """Forget an adapter. Raises AdapterNotFoundError when it is not known."""
        with self._lock:
            entry = self._known(digest)
            del self._entries[digest]
            self._host.drop(digest)
            if entry.resident is not None:
                del self._resident[digest]
                if entry.resident.running:
                    self._draining.append(entry.resident)
            self._fail(entry, _unknown(digest))
            self._settle()

    def statuses(self) -> list[AdapterStatus]:
        """All known adapters."""
        with self._lock:
            return [self._status(digest, entry) for digest, entry in self._entries.items()]

    def check_integrity(self) -> None:
        with self._lock:
            resident = {digest: entry.resident for digest, entry in self._entries.items() if entry.resident}
            assert resident == dict(self._resident), "the table and the order of use differ"
            held = [*self._resident.values(), *self._draining]
            assert all(adapter.running >= 0 for adapter in held), "an adapter was released twice"
            assert all(adapter.running for adapter in self._draining), "a drained adapter was not freed"
            assert len({adapter.slot for adapter in held}) == len(held), "two adapters share a slot"
            assert self._used <= self.budget, "more is resident than the budget allows"
            self._host.check_integrity()

    # What follows holds the lock, but for `_load`.

    @property
    def _used(self) -> int:
        return sum(adapter.nbytes for adapter in (*self._resident.values(), *self._draining))

    def _known(self, digest: str) -> _Entry:
        if digest not in self._entries:
            raise _unknown(digest)
        return self._entries[digest]

    def _check(self, digest: str) -> _Entry:
        entry = self._known(digest)
        if entry.failure is not None:
            if time.monotonic() - entry.failed_at < FAILURE_SECONDS:
                raise entry.failure
            entry.failure = None
        return entry

    def _load(self, entry: _Entry) -> None:
        """Bring one adapter from host or disk to where it can run. On a loader's thread."""
        digest = entry.adapter.digest
        try:
            with self._lock:
                tensors = self._host.get(digest)
            if tensors is None:
                tensors = entry.adapter.read_tensors()
            prepared = self._prepare(entry.adapter, tensors)
        except Exception as error:  # noqa: BLE001  whatever it is, those who wait must be told
            if not isinstance(error, AdapterHubError):
                error = UnavailableError(f"adapter {digest} could not be loaded: {type(error).__name__}: {error}")
            with self._lock:
                self._fail(entry, error)
            return
        with self._lock:
            if self._entries.get(digest) is not entry or not entry.loading:
                return  # removed meanwhile, or the pool was closed
            self._host.put(digest, tensors)
            if prepared.nbytes > self.budget:
                self._fail(entry, _too_large(prepared, self.budget))
                return
            self._arriving.append((entry, prepared))
            self._settle()

    def _settle(self) -> None:
        """Place what has arrived, in order, as far as room can be made."""
        while self._arriving:
            entry, prepared = self._arriving[0]
            if self._entries.get(prepared.digest) is entry:
                if not self._make_room(prepared.nbytes):
                    return
                self._place(entry, prepared)
            self._arriving.popleft()

    def _make_room(self, nbytes: int) -> bool:
        evictable = [digest for digest in self._resident if self._entries[digest].evictable]
        for digest in evictable:
            if self._used + nbytes <= self.budget:
                break
            self._entries[digest].resident = None
            del self._resident[digest]
            self._evictions += 1
        return self._used + nbytes <= self.budget

    def _place(self, entry: _Entry, prepared: ResidentAdapter) -> None:
        prepared.slot = self._next_slot
        self._next_slot += 1
        entry.resident = self._resident[prepared.digest] = prepared
        entry.loading = False
        waiters, entry.waiters = entry.waiters, []
        for waiter in waiters:
            self._hold(prepared, waiter)

    def _hold(self, adapter: ResidentAdapter, waiter: Waiter) -> None:
        adapter.running += 1
        waiter.ready(adapter)

    def _fail(self, entry: _Entry, error: AdapterHubError) -> None:
        entry.loading = False
        entry.failure, entry.failed_at = error, time.monotonic()
        waiters, entry.waiters = entry.waiters, []
        for waiter in waiters:
            waiter.failed(error)

    def _status(self, digest: str, entry: _Entry) -> AdapterStatus:
        resident = entry.resident
        tier: Tier = "host" if self._host.holds(digest) else "disk"
        if resident is not None:
            tier = "resident"
        elif entry.failure is not None:
            tier = "failed"
        method = resident.method.name if resident else entry.adapter.peft_type.lower()
        nbytes = resident.nbytes if resident else entry.adapter.nbytes
        return AdapterStatus(digest, method, nbytes, resident.running if resident else 0, tier)


def _unknown(digest: str) -> AdapterNotFoundError:
    return AdapterNotFoundError(f"adapter {digest} is not loaded", resource=digest)


def _too_large(adapter: ResidentAdapter, budget: int) -> UnavailableError:
    return UnavailableError(f"adapter {adapter.digest} needs {adapter.nbytes} bytes, all adapters may have {budget}")
