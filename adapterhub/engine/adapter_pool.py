"""Which adapters are in memory, and which requests wait for one that is not."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from torch import Tensor

from adapterhub.adapter import Adapter
from adapterhub.engine.adapter_entry import AdapterEntry, Waiter
from adapterhub.engine.blend import Blend, Servable, parts
from adapterhub.engine.host_tier import HostTier
from adapterhub.engine.resident_adapter import ResidentAdapter
from adapterhub.engine.stats import AdapterStatus, Tier
from adapterhub.engine.tally import Tally
from adapterhub.errors import AdapterHubError, AdapterNotFoundError, EngineStoppedError, UnavailableError
from adapterhub.giving_way import pace

Prepare = Callable[[Servable, Sequence[Mapping[str, Tensor]]], ResidentAdapter]
"""From an adapter, or a blend, and the tensors of each of its `parts`."""

NICE = 10
"""What a loader adds to its niceness: a step waits for its slowest thread. No more than that, for a loader that has the
interpreter's lock and gets no processor holds every step up."""
LOADERS = 2
"""Threads that read, check and bind; as many adapters are ready, at most, before there is room for them."""
FAILURE_SECONDS = 30.0
"""How long a failed load is remembered: until then it fails again at once, with the same reason."""
MAX_BLENDS = 4096
"""Blends that are known at once, as clients may ask for ever new ones; far more than an engine's requests name."""


class AdapterPool:
    """Owns the table of adapters, by content digest, in three tiers: resident, host, disk. Any thread.

    A request holds its adapter from `ready` to `release`. One that is needed and not resident is
    read, checked and bound by background threads, once for all who wait, in the order it was asked for.
    Room is made by evicting what nobody holds, the one unused longest first. Where that is not enough,
    those in use, again the one unused longest first, *leave*: they take no new request, which waits in
    turn like others', and are evicted when their last one ends. So nobody waits for ever for adapters
    that never rest. An adapter that is removed is freed when the last that holds it ends.
    """

    def __init__(
        self,
        prepare: Prepare,
        *,
        budget: int,
        host_budget: int,
        tally: Tally | None = None,
        others: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """`budget` and `host_budget` are in bytes; loads give way to `others`, see `pace`."""
        self.budget = budget
        self._tally = tally or Tally()
        self._prepare = prepare
        self._others = others
        self._host = HostTier(host_budget)
        self._lock = threading.Lock()
        self._entries: dict[str, AdapterEntry] = {}
        self._resident: OrderedDict[str, ResidentAdapter] = OrderedDict()
        """The one unused longest first."""
        self._wanted: deque[AdapterEntry] = deque()
        """To be loaded, in this order."""
        self._loading: list[AdapterEntry] = []
        """On a loader's thread, or the next to be."""
        self._arriving: deque[tuple[AdapterEntry, ResidentAdapter]] = deque()
        """Ready to run, waiting for room."""
        self._leaving: frozenset[str] = frozenset()
        """In use, and to make room."""
        self._draining: list[ResidentAdapter] = []
        """Removed, still held."""
        self._used = 0
        """Bytes of the resident and the draining: with very many, summing them at each change takes long."""
        self._blends: OrderedDict[str, None] = OrderedDict()
        """Digests of those among the known; the one registered longest ago first."""
        self._next_slot = 1
        self._evictions = 0
        self._closed = False
        self._loaders = ThreadPoolExecutor(LOADERS, "adapterhub-load", initializer=_step_back)

    def close(self) -> None:
        """Nothing more is loaded; whoever waits is told, and what is in memory is let go of."""
        with self._lock:
            self._closed = True
            self._arriving.clear()
            self._wanted.clear()
            for entry in self._entries.values():
                self._fail(entry, _stopped())
        self._loaders.shutdown(wait=True, cancel_futures=True)
        with self._lock:
            for entry in self._entries.values():
                entry.resident = None
            self._resident.clear()
            self._draining.clear()
            self._used = 0
            self._host.clear()

    @property
    def evictions(self) -> int:
        return self._evictions

    def register(self, adapter: Servable) -> None:
        """Make an adapter or a blend known; it is loaded when somebody needs it.

        Of very many blends, one that nobody needs is forgotten, the one registered longest ago first.
        """
        with self._lock:
            self._entries.setdefault(adapter.digest, AdapterEntry(adapter))
            if isinstance(adapter, Blend):
                self._blends[adapter.digest] = None
                self._blends.move_to_end(adapter.digest)
                if len(self._blends) > MAX_BLENDS:
                    self._forget_a_blend()

    def require(self, digest: str) -> None:
        """Raises AdapterNotFoundError when an adapter is not known, or why it failed a moment ago.

        Raises EngineStoppedError once the pool is closed.
        """
        with self._lock:
            self._check(digest)

    def acquire(self, digest: str, waiter: Waiter) -> None:
        """Tell `waiter` when the adapter is resident, at once if it is. Raises as `require`."""
        with self._lock:
            entry = self._check(digest)
            if entry.resident is not None and digest not in self._leaving:
                self._resident.move_to_end(digest)
                self._hold(entry.resident, waiter)
                return
            entry.waiters.append(waiter)
            if not entry.awaited:
                entry.awaited = True
                self._wanted.append(entry)
                self._settle()

    def release(self, adapter: ResidentAdapter) -> None:
        """End one hold."""
        with self._lock:
            adapter.running -= 1
            if not adapter.running and adapter in self._draining:
                self._draining.remove(adapter)
                self._used -= adapter.nbytes
            self._settle()

    def pin(self, digest: str) -> None:
        """Keep an adapter resident once it is. Raises as `require`."""
        with self._lock:
            self._check(digest).pins += 1
            self._settle()

    def unpin(self, digest: str) -> None:
        """Undo one pin. Raises AdapterNotFoundError when the adapter is not known."""
        with self._lock:
            entry = self._known(digest)
            entry.pins = max(0, entry.pins - 1)
            self._settle()

    def remove(self, digest: str) -> None:
        """Forget an adapter, and the blends it is in. Raises AdapterNotFoundError when it is not known."""
        with self._lock:
            self._forget(self._known(digest))
            self._host.drop(digest)
            for entry in [self._entries[blend] for blend in self._blends]:
                if any(part.digest == digest for part in parts(entry.adapter)):
                    self._forget(entry)
            self._settle()

    def status(self, digest: str) -> AdapterStatus | None:
        """One adapter; None when it is not known."""
        with self._lock:
            entry = self._entries.get(digest)
            return entry.status(self._tier(entry)) if entry else None

    def statuses(self) -> list[AdapterStatus]:
        """All known adapters."""
        with self._lock:
            return [entry.status(self._tier(entry)) for entry in self._entries.values()]

    def check_integrity(self) -> None:
        with self._lock:
            resident = {digest: entry.resident for digest, entry in self._entries.items() if entry.resident}
            assert resident == dict(self._resident), "the table and the order of use differ"
            blends = {digest for digest, entry in self._entries.items() if isinstance(entry.adapter, Blend)}
            assert blends == self._blends.keys(), "the table and the blends differ"
            held = [*self._resident.values(), *self._draining]
            assert all(adapter.running >= 0 for adapter in held), "an adapter was released twice"
            assert all(adapter.running for adapter in self._draining), "a drained adapter was not freed"
            assert len({adapter.slot for adapter in held}) == len(held), "two adapters share a slot"
            assert self._used == sum(adapter.nbytes for adapter in held), "the bytes in use were miscounted"
            assert self._used <= self.budget, "more is resident than the budget allows"
            coming = self._coming()
            assert all(entry in coming for entry in self._entries.values() if entry.awaited), "a load was forgotten"
            assert all(entry.awaited for entry in self._entries.values() if entry.waiters), (
                "a request waits for nothing"
            )
            assert len(self._arriving) <= LOADERS, "more was loaded than there is room for"
            self._host.check_integrity()

    # What follows holds the lock, but for `_load` and `_tensors`.

    def _known(self, digest: str) -> AdapterEntry:
        if digest not in self._entries:
            raise _unknown(digest)
        return self._entries[digest]

    def _forget(self, entry: AdapterEntry) -> None:
        digest = entry.adapter.digest
        del self._entries[digest]
        self._blends.pop(digest, None)
        if entry in self._wanted:
            self._wanted.remove(entry)
        if entry.resident is not None:
            del self._resident[digest]
            if entry.resident.running:
                self._draining.append(entry.resident)
            else:
                self._used -= entry.resident.nbytes
        self._fail(entry, _unknown(digest))

    def _forget_a_blend(self) -> None:
        for entry in [self._entries[digest] for digest in self._blends]:
            if not (entry.awaited or entry.pins or (entry.resident and entry.resident.running)):
                self._forget(entry)
                return

    def _tier(self, entry: AdapterEntry) -> Tier:
        """Where an adapter is that is not resident."""
        if entry in self._loading or any(entry is arriving for arriving, _ in self._arriving):
            return "loading"
        if entry in self._wanted:
            return "queued"
        return "host" if all(self._host.holds(part.digest) for part in parts(entry.adapter)) else "disk"

    def _check(self, digest: str) -> AdapterEntry:
        if self._closed:
            raise _stopped()
        entry = self._known(digest)
        if entry.failure is not None:
            if time.monotonic() - entry.failed_at < FAILURE_SECONDS:
                raise entry.failure.with_traceback(None)  # else it would grow with each time
            entry.failure = None
        return entry

    def _load(self, entry: AdapterEntry) -> None:
        """Bring one adapter from host or disk to where it can run. On a loader's thread."""
        digest = entry.adapter.digest
        pace(self._others)
        try:
            tensors = {part.digest: self._tensors(part) for part in parts(entry.adapter)}
            prepared = self._prepare(entry.adapter, list(tensors.values()))
        except Exception as error:  # noqa: BLE001  whatever it is, those who wait must be told
            if not isinstance(error, AdapterHubError):
                error = UnavailableError(f"adapter {digest} could not be loaded: {type(error).__name__}: {error}")
            self._tally.load(entry.adapter.method_name, error)
            with self._lock:
                self._loading.remove(entry)
                self._fail(entry, error)
                self._settle()
            return
        too_large = _too_large(prepared, self.budget) if prepared.nbytes > self.budget else None
        self._tally.load(prepared.method.name, too_large)
        with self._lock:
            self._loading.remove(entry)
            if self._entries.get(digest) is entry and entry.awaited:  # else removed meanwhile, or the pool was closed
                for part, own in tensors.items():
                    self._host.put(part, own)
                entry.needs = prepared.nbytes
                if too_large:
                    self._fail(entry, too_large)
                else:
                    self._arriving.append((entry, prepared))
            self._settle()

    def _tensors(self, part: Adapter) -> Mapping[str, Tensor]:
        """From the host if they are there, else from disk. On a loader's thread."""
        with self._lock:
            tensors = self._host.get(part.digest)
        return part.read_tensors() if tensors is None else tensors

    def _settle(self) -> None:
        """Place what has arrived, in order, as far as room can be made; and load what comes next."""
        while self._arriving:
            entry, prepared = self._arriving[0]
            if self._entries.get(prepared.digest) is entry:
                if not self._make_room(prepared.nbytes):
                    break
                self._place(entry, prepared)
            self._arriving.popleft()
        self._leaving = self._to_leave()
        for entry in list(self._wanted):
            if entry.resident is not None:
                if entry.adapter.digest not in self._leaving:  # others have made the room
                    self._wanted.remove(entry)
                    self._give(entry, entry.resident)
            elif len(self._loading) + len(self._arriving) < LOADERS:
                self._wanted.remove(entry)
                self._loading.append(entry)
                self._loaders.submit(self._load, entry)

    def _make_room(self, nbytes: int) -> bool:
        if self._used + nbytes <= self.budget:
            return True
        for digest in self._idle():
            self._entries[digest].resident = None
            self._used -= self._resident.pop(digest).nbytes
            self._evictions += 1
            if self._used + nbytes <= self.budget:
                return True
        return False

    def _idle(self) -> list[str]:
        return [d for d, adapter in self._resident.items() if not (adapter.running or self._entries[d].pins)]

    def _coming(self) -> list[AdapterEntry]:
        """The ones nearest to it first."""
        return [*(entry for entry, _ in self._arriving), *self._loading, *self._wanted]

    def _to_leave(self) -> frozenset[str]:
        """Of those in use, the ones unused longest, as many as make room for the next that are waited for.

        The next are as many as are loaded at a time: for all that are waited for every adapter might have to leave, and
        be loaded again for requests that it could have taken.
        """
        needed = sum(entry.room for entry in self._coming()[:LOADERS] if entry.awaited and entry.resident is None)
        if self._used + needed <= self.budget:
            return frozenset()
        idle = sum(self._resident[digest].nbytes for digest in self._idle())
        missing = self._used - idle + needed - self.budget
        leaving = []
        for digest, adapter in self._resident.items():
            if missing <= 0:
                break
            if adapter.running and not self._entries[digest].pins:
                leaving.append(digest)
                missing -= adapter.nbytes
        return frozenset(leaving)

    def _place(self, entry: AdapterEntry, prepared: ResidentAdapter) -> None:
        prepared.slot = self._next_slot
        self._next_slot += 1
        entry.resident = self._resident[prepared.digest] = prepared
        self._used += prepared.nbytes
        self._give(entry, prepared)

    def _give(self, entry: AdapterEntry, adapter: ResidentAdapter) -> None:
        """Hold an adapter for all who wait for it."""
        entry.awaited = False
        self._resident.move_to_end(adapter.digest)
        waiters, entry.waiters = entry.waiters, []
        for waiter in waiters:
            self._hold(adapter, waiter)

    def _hold(self, adapter: ResidentAdapter, waiter: Waiter) -> None:
        adapter.running += 1
        waiter.ready(adapter)

    def _fail(self, entry: AdapterEntry, error: AdapterHubError) -> None:
        entry.awaited = False
        entry.failure, entry.failed_at = error, time.monotonic()
        waiters, entry.waiters = entry.waiters, []
        for waiter in waiters:
            waiter.failed(error)


def _unknown(digest: str) -> AdapterNotFoundError:
    return AdapterNotFoundError(f"adapter {digest} is not loaded", resource=digest)


def _step_back() -> None:
    """Let the engine's thread have the processor first; on Linux, where a thread has a niceness of its own."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + NICE)


def _stopped() -> EngineStoppedError:
    return EngineStoppedError("the engine is not running")


def _too_large(adapter: ResidentAdapter, budget: int) -> UnavailableError:
    return UnavailableError(f"adapter {adapter.digest} needs {adapter.nbytes} bytes, all adapters may have {budget}")
