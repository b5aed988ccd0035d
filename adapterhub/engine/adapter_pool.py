"""The resident adapters, by content digest."""

from __future__ import annotations

import threading

from adapterhub.engine.resident_adapter import ResidentAdapter
from adapterhub.errors import AdapterNotFoundError


class AdapterPool:
    """Owns the table of resident adapters. Safe to call from any thread.

    A request holds its adapter from `acquire` to `release`, so that an unloaded adapter stays until
    the requests that began with it end.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_digest: dict[str, ResidentAdapter] = {}
        self._draining: list[ResidentAdapter] = []
        self._next_slot = 1

    def add(self, adapter: ResidentAdapter) -> ResidentAdapter:
        """Make an adapter resident; the one already there when its digest is known."""
        with self._lock:
            if adapter.digest not in self._by_digest:
                adapter.slot = self._next_slot
                self._next_slot += 1
                self._by_digest[adapter.digest] = adapter
            return self._by_digest[adapter.digest]

    def acquire(self, digest: str) -> ResidentAdapter:
        """Hold an adapter for one request. Raises AdapterNotFoundError when it is not resident."""
        with self._lock:
            adapter = self._by_digest.get(digest)
            if adapter is None:
                raise AdapterNotFoundError(f"adapter {digest} is not loaded", resource=digest)
            adapter.running += 1
            return adapter

    def release(self, adapter: ResidentAdapter) -> None:
        """End one request's hold."""
        with self._lock:
            adapter.running -= 1
            if adapter.revoked and not adapter.running:
                self._draining.remove(adapter)

    def remove(self, digest: str) -> None:
        """Take no new request for an adapter. Raises AdapterNotFoundError when it is not resident."""
        with self._lock:
            adapter = self._by_digest.pop(digest, None)
            if adapter is None:
                raise AdapterNotFoundError(f"adapter {digest} is not loaded", resource=digest)
            adapter.revoked = True
            if adapter.running:
                self._draining.append(adapter)

    def resident(self) -> list[ResidentAdapter]:
        """The adapters that take requests, in the order they came."""
        with self._lock:
            return list(self._by_digest.values())

    def check_integrity(self) -> None:
        with self._lock:
            adapters = [*self._by_digest.values(), *self._draining]
            assert all(adapter.running >= 0 for adapter in adapters), "an adapter was released twice"
            assert all(adapter.running for adapter in self._draining), "a drained adapter was not freed"
            assert len({adapter.slot for adapter in adapters}) == len(adapters), "two adapters share a slot"
