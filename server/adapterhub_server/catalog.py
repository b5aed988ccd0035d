"""From the reference in a request to an adapter that is resident in the engine."""

from __future__ import annotations

import asyncio

from adapterhub.adapter import Adapter
from adapterhub.engine import Engine
from adapterhub.errors import AdapterNotFoundError
from adapterhub.store import AdapterRef, Store


class Catalog:
    """Owns which names point at which resident digests. Lives on the event loop, which it never blocks.

    An adapter stays resident until it is unloaded, also when its name has moved on to another digest.
    """

    def __init__(self, engine: Engine, store: Store) -> None:
        self._engine = engine
        self._store = store
        self._adapters: dict[str, Adapter] = {}
        """By digest: what is resident."""
        self._names: dict[str, str] = {}
        """`name:tag` -> the digest it last resolved to."""
        self._loads: dict[str, asyncio.Task[Adapter]] = {}
        """By digest: loads under way; whoever needs the same adapter waits for the same load."""

    async def get(self, ref: str) -> Adapter:
        """The adapter `ref` names at this moment, resident.

        Raises RefError, AdapterNotFoundError, or IntegrityError when it cannot be served over this base.
        """
        asked = AdapterRef.parse(ref)
        pinned = await asyncio.to_thread(self._store.pin, asked)
        if not asked.digest:
            self._names[pinned.label] = pinned.digest
        if pinned.digest in self._adapters:
            return self._adapters[pinned.digest]
        if pinned.digest not in self._loads:
            self._loads[pinned.digest] = asyncio.create_task(self._load(pinned))
        # A caller that goes away must not take the load from the others.
        return await asyncio.shield(self._loads[pinned.digest])

    def unload(self, ref: str) -> str:
        """Free an adapter when what runs on it has ended; its digest. Raises AdapterNotFoundError."""
        asked = AdapterRef.parse(ref)
        digest = asked.digest or self._names.get(asked.label, "")
        if digest not in self._adapters:
            raise AdapterNotFoundError(f"adapter {asked} is not loaded", resource=str(asked))
        del self._adapters[digest]
        self._engine.unload_adapter(digest)
        return digest

    def names(self, digest: str) -> list[str]:
        """The names that last resolved to a digest, sorted."""
        return sorted(name for name, held in self._names.items() if held == digest)

    async def _load(self, pinned: AdapterRef) -> Adapter:
        try:
            adapter = await asyncio.to_thread(self._store.resolve, pinned)
            await asyncio.to_thread(self._engine.load_adapter, adapter)
            self._adapters[pinned.digest] = adapter
            return adapter
        finally:
            del self._loads[pinned.digest]
