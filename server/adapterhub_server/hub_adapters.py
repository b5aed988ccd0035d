"""Adapters that come from the Hugging Face Hub when a request names one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable
from fnmatch import fnmatchcase
from typing import NamedTuple

from adapterhub.errors import AdapterHubError, AdapterNotFoundError, ForbiddenError
from adapterhub.store import AdapterRef, Store
from adapterhub_server.known_adapter import KnownAdapter

FAILURE_SECONDS = 30.0
"""How long a failed download is remembered: until then it fails again at once, and nobody is asked."""
REMEMBERED = 1024
"""Failures, at most."""

Download = Callable[[AdapterRef], AdapterRef]
"""Brings a Hub adapter into the store; its local reference, pinned. Blocks. Raises AdapterHubError."""


def nothing(asked: AdapterRef) -> AdapterRef:
    """The Download of a server that takes nothing from the Hub."""
    raise ForbiddenError(f"{asked.label}: this server takes nothing from the Hub unless its operator allows it")


def allowed(patterns: Iterable[str], download: Download) -> Download:
    """`download` for references whose `hf:name`, as a whole, is like one of the patterns; others are refused."""

    def checked(asked: AdapterRef) -> AdapterRef:
        name = asked.label.removesuffix(f":{asked.tag}")
        if not any(fnmatchcase(name, pattern) for pattern in patterns):
            raise ForbiddenError(f"{name}: not among what this server may take from the Hub")
        return download(asked)

    return checked


def from_hub(patterns: Collection[str], store: Store, base: str) -> Download:
    """What like one of the patterns is pulled from the Hub, checked against the base and kept; nothing without any."""
    if not patterns:
        return nothing

    def pulled(asked: AdapterRef) -> AdapterRef:
        from adapterhub.hub import pull

        return pull(asked, store, base=base).ref

    return allowed(patterns, pulled)


class _Failure(NamedTuple):
    error: AdapterHubError
    at: float
    """On the monotonic clock, in seconds."""


class HubAdapters:
    """Owns what was downloaded, and what is on its way. Lives on the event loop.

    A reference is downloaded once, for all who wait, and keeps its content until it is loaded anew. One with a
    digest is another than one without: what comes of the one says nothing of the other.
    """

    def __init__(self, download: Download) -> None:
        self._download = download
        self._local: dict[str, AdapterRef] = {}
        """By the reference as it was asked for, with its digest if it has one: where it is in the store."""
        self._coming: dict[str, asyncio.Task[AdapterRef]] = {}
        self._failures: dict[str, _Failure] = {}

    async def local(self, asked: AdapterRef) -> AdapterRef:
        """Its reference in the store. Raises as Download."""
        key = str(asked)
        if key in self._local:
            return self._local[key]
        if (failed := self._failures.get(key)) and time.monotonic() - failed.at < FAILURE_SECONDS:
            raise failed.error.with_traceback(None)
        if key not in self._coming:
            self._coming[key] = asyncio.create_task(self._fetch(asked))
        # A caller that goes away must not take the download from the others.
        return await asyncio.shield(self._coming[key])

    def forget(self, asked: AdapterRef) -> None:
        """The next request downloads it anew."""
        self._local.pop(str(asked), None)
        self._failures.pop(str(asked), None)

    def digest(self, asked: AdapterRef) -> str:
        """Of what was downloaded; empty while nothing was."""
        local = self._local.get(str(asked))
        return local.digest if local else ""

    def known(self, key: str) -> KnownAdapter:
        """What is known of a reference that has nothing here yet. Raises AdapterNotFoundError when nothing is."""
        if key in self._coming:
            return KnownAdapter("", (key,), state="downloading")
        if key in self._failures:
            return KnownAdapter("", (key,), state="failed", reason=str(self._failures[key].error))
        raise AdapterNotFoundError(f"adapter {key} is not loaded", resource=key)

    def coming(self) -> list[KnownAdapter]:
        """All that is on its way."""
        return [self.known(key) for key in self._coming]

    async def _fetch(self, asked: AdapterRef) -> AdapterRef:
        key = str(asked)
        try:
            local = await asyncio.to_thread(self._download, asked)
        except AdapterHubError as error:
            if len(self._failures) >= REMEMBERED:
                self._failures.clear()
            self._failures[key] = _Failure(error, time.monotonic())
            raise
        finally:
            del self._coming[key]
        self._failures.pop(key, None)
        self._local[key] = local
        return local
