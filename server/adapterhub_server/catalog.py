"""From the reference in a request to an adapter that the engine knows."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import replace

from adapterhub.adapter import Adapter
from adapterhub.engine import Engine, Tier
from adapterhub.errors import AdapterHubError, AdapterNotFoundError, ConflictError
from adapterhub.store import AdapterRef, Store
from adapterhub_server.hub_adapters import Download, HubAdapters, nothing
from adapterhub_server.known_adapter import KnownAdapter, State

TICK = 0.05
"""Seconds between two looks of `watch`; a state that lasts less may be left out."""
TIERS: dict[Tier, State] = {
    "queued": "queued",
    "loading": "validating",
    "host": "host",
    "disk": "disk",
    "resident": "resident",
    "failed": "failed",
}
"""The engine's tiers as states."""


class Catalog:
    """Owns which names point at which digests here. Lives on the event loop, which it never blocks.

    An adapter is read from the store, hashed and checked once, when it is first needed; the engine makes
    it resident for the requests that name it. It stays known until it is unloaded, also when its name has
    moved on to another digest. One that was unloaded is refused until it is loaded again.
    """

    def __init__(self, engine: Engine, store: Store, download: Download = nothing) -> None:
        self._engine = engine
        self._store = store
        self._adapters: dict[str, Adapter] = {}
        """By digest: checked, and known to the engine."""
        self._names: dict[str, str] = {}
        """`name:tag` -> the digest it last resolved to."""
        self._held: set[tuple[str, str]] = set()
        """Names of the store, with digests that they held: what was is not asked for again."""
        self._checks: dict[str, asyncio.Task[Adapter]] = {}
        """By digest: checks under way; whoever needs the same adapter waits for the same check."""
        self._hub = HubAdapters(download)
        self._failures: dict[str, AdapterHubError] = {}
        """By digest: why the last check or load failed."""
        self._pinned: set[str] = set()
        self._unloaded: set[str] = set()
        self._background: set[asyncio.Task[None]] = set()

    async def get(self, ref: str) -> Adapter:
        """The adapter `ref` names at this moment, checked; the engine loads it for the request that names it.

        Raises RefError, AdapterNotFoundError, ConflictError when it was unloaded, and IntegrityError.
        """
        pinned = await self._pin(AdapterRef.parse(ref))
        if pinned.digest in self._unloaded:
            raise ConflictError(f"adapter {ref} was unloaded here; load it again first")
        return await self._checked(pinned)

    async def resident(self, ref: str) -> Adapter:
        """As `get`, once it is resident. Raises as `Engine.load_adapter` too."""
        adapter = await self.get(ref)
        await asyncio.to_thread(self._engine.load_adapter, adapter)
        return adapter

    async def load(self, ref: str) -> KnownAdapter:
        """Begin to load an adapter, also one that was unloaded; its state now.

        Raises RefError and AdapterNotFoundError. What goes wrong later is in its state.
        """
        asked = AdapterRef.parse(ref)
        if asked.hub:
            self._hub.forget(asked)  # its revision may have moved
            self._begin(asked)
            await asyncio.sleep(0)
            return self._hub.known(str(asked))
        pinned = await self._pin(asked)
        self._unloaded.discard(pinned.digest)
        self._begin(pinned)
        await asyncio.sleep(0)
        return self._known(pinned.digest)

    async def pin(self, ref: str) -> KnownAdapter:
        """As `load`, and never evict it. Raises as `load`, and what the check of its files raises."""
        await self.load(ref)
        adapter = await self.get(ref)
        if adapter.digest not in self._pinned:
            self._engine.pin_adapter(adapter.digest)
            self._pinned.add(adapter.digest)
        return self._known(adapter.digest)

    async def unpin(self, ref: str) -> KnownAdapter:
        """Undo `pin`. Raises AdapterNotFoundError when the adapter is not known."""
        digest = await self._digest(AdapterRef.parse(ref))
        if digest in self._pinned:
            self._pinned.discard(digest)
            self._engine.unpin_adapter(digest)
        return self._known(digest)

    async def unload(self, ref: str) -> str:
        """Free an adapter when what runs on it has ended, and refuse it until it is loaded; its digest.

        Raises AdapterNotFoundError when it is not known.
        """
        asked = AdapterRef.parse(ref)
        digest = await self._digest(asked)
        if digest not in self._adapters:
            raise _not_loaded(asked)
        del self._adapters[digest]
        self._pinned.discard(digest)
        self._unloaded.add(digest)
        self._engine.unload_adapter(digest)
        return digest

    async def describe(self, ref: str) -> KnownAdapter:
        """What is known of one adapter. Raises AdapterNotFoundError when nothing is."""
        return await self._named(AdapterRef.parse(ref))

    def list(self) -> list[KnownAdapter]:
        """All adapters that are known, by digest; those on their way from the Hub, which have none yet, first."""
        digests = self._names.values() | self._adapters.keys() | self._checks.keys() | self._unloaded
        return self._hub.coming() + [self._known(digest) for digest in sorted(digests)]

    def names(self) -> dict[str, str]:
        """`name:tag` -> the digest it last resolved to. Any thread: the table is copied in one go."""
        return dict(self._names)

    async def watch(self, ref: str) -> AsyncGenerator[KnownAdapter]:
        """The adapter's state now, once it is known, and at every change, until it is unloaded."""
        asked = AdapterRef.parse(ref)
        last: KnownAdapter | None = None
        while last is None or last.state != "unloaded":
            with contextlib.suppress(AdapterNotFoundError):  # not known yet
                if (now := await self._named(asked)) != last:
                    yield now
                    last = now
                    continue
            await asyncio.sleep(TICK)

    async def _pin(self, asked: AdapterRef) -> AdapterRef:
        """The local reference with its digest."""
        if asked.hub:
            pinned = await self._hub.local(asked)
        elif (asked.name, asked.digest) in self._held:
            return asked
        else:
            pinned = await asyncio.to_thread(self._store.pin, asked)
            self._held.add((pinned.name, pinned.digest))
        if not asked.digest:
            self._names[asked.label] = pinned.digest
        return pinned

    async def _checked(self, pinned: AdapterRef) -> Adapter:
        digest = pinned.digest
        if digest in self._adapters:
            return self._adapters[digest]
        if digest not in self._checks:
            self._checks[digest] = asyncio.create_task(self._check(pinned))
        # A caller that goes away must not take the check from the others.
        return await asyncio.shield(self._checks[digest])

    async def _check(self, pinned: AdapterRef) -> Adapter:
        digest = pinned.digest
        try:
            adapter = await asyncio.to_thread(self._store.resolve, pinned)
        except AdapterHubError as error:
            self._failures[digest] = error
            raise
        finally:
            del self._checks[digest]
        self._failures.pop(digest, None)
        if digest not in self._unloaded:
            self._adapters[digest] = adapter
            self._engine.register_adapter(adapter)
        return adapter

    def _begin(self, asked: AdapterRef) -> None:
        """Bring an adapter in the background; why it did not come is told by its state."""
        task = asyncio.create_task(self._bring(asked))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _bring(self, asked: AdapterRef) -> None:
        try:
            pinned = await self._pin(asked)
        except AdapterHubError:
            return  # what failed remembers why
        self._unloaded.discard(pinned.digest)
        self._failures.pop(pinned.digest, None)
        try:
            await self.resident(str(pinned))
        except AdapterHubError as error:
            self._failures[pinned.digest] = error

    async def _digest(self, asked: AdapterRef) -> str:
        """The digest that a reference stands for here; one that is given must be a digest the name held.

        Raises AdapterNotFoundError when the adapter is not known here.
        """
        if asked.hub and asked.digest:
            digest = self._hub.digest(asked)
        elif asked.digest:
            digest = (await asyncio.to_thread(self._store.pin, asked)).digest
        else:
            digest = self._names.get(asked.label, "")
        if not (digest in self._names.values() or digest in self._adapters):
            raise _not_loaded(asked)
        return digest

    async def _named(self, asked: AdapterRef) -> KnownAdapter:
        if asked.hub and not self._hub.digest(asked):
            return self._hub.known(str(asked))
        return self._known(await self._digest(asked))

    def _known(self, digest: str) -> KnownAdapter:
        names = tuple(sorted(name for name, held in self._names.items() if held == digest))
        known = KnownAdapter(digest, names, pinned=digest in self._pinned)
        if digest in self._unloaded:
            return replace(known, state="unloaded")
        status = self._engine.adapter(digest)
        if status is None:
            failure = self._failures.get(digest)
            waiting: State = "validating" if digest in self._checks else "disk"
            return replace(known, state="failed" if failure else waiting, reason=str(failure or ""))
        return replace(
            known,
            method=status.method,
            nbytes=status.nbytes,
            running=status.running,
            state=TIERS[status.tier],
            reason=str(status.failure or ""),
        )


def _not_loaded(asked: AdapterRef) -> AdapterNotFoundError:
    return AdapterNotFoundError(f"adapter {asked} is not loaded", resource=str(asked))
