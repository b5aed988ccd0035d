"""Asks a router which adapter a prompt is for, among those of the store that the caller may use."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from adapterhub.adapter import BaseRecord
from adapterhub.errors import AdapterNotFoundError, IntegrityError, RouterError
from adapterhub.prompt_router import Candidate, Pick, PickPrompt, PromptRouter
from adapterhub.store import AdapterRef, Store
from adapterhub.store.ref import DEFAULT_TAG
from adapterhub_server.caller import CALLER, Caller

log = logging.getLogger(__name__)

CHECK_SECONDS = 1.0
"""The store is looked at at most this often."""
MAX_FITTED = 64
"""Sets of adapters that are kept fitted; beyond, all are fitted again when they are next needed."""
THREADS = 2
"""A router's own: one that is slow keeps no other request waiting."""


class _Fitted(NamedTuple):
    """A router among some candidates."""

    names: frozenset[str]
    pick: PickPrompt


class PromptPicks:
    """Owns what a router is fitted to: the adapters under the tag `latest`, trained on the served base."""

    def __init__(self, router: PromptRouter, store: Store, base: BaseRecord, methods: Collection[str]) -> None:
        """`methods` are the served ones, by name."""
        self.name = router.name
        self._router = router
        self._store = store
        self._base = base
        self._methods = methods
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="router")
        self._lock = threading.Lock()
        """Over all that follows."""
        self._looked = -math.inf
        self._stamp: object = None
        """The store's, when its adapters were last read."""
        self._held: dict[AdapterRef, Candidate | None] = {}
        """Pinned reference -> what may be picked of it."""
        self._fitted: dict[tuple[str, ...], _Fitted] = {}
        """By the patterns of the adapters that a caller may use."""

    async def pick(self, prompt: str) -> str:
        """The name of an adapter that the present caller may use; empty for the bare base. Raises RouterError."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._pick, prompt, CALLER.get())

    def _pick(self, prompt: str, caller: Caller) -> str:
        with self._lock:
            if time.monotonic() - self._looked >= CHECK_SECONDS:
                if (stamp := self._store.stamp()) != self._stamp:
                    self._read_store()
                    self._stamp = stamp
                self._looked = time.monotonic()
        try:
            with self._lock:
                fitted = self._fit(caller)
            return _checked(fitted, fitted.pick(prompt), self.name) if fitted else ""
        except (Exception, SystemExit) as error:  # a plugin may raise anything
            raise RouterError(f"router {self.name!r} failed") from error

    def _fit(self, caller: Caller) -> _Fitted | None:
        """The router among what the caller may use; None when that is nothing."""
        if caller.adapters not in self._fitted:
            candidates = [each for ref, each in self._held.items() if each and caller.may_use(ref)]
            if not candidates:
                return None
            if len(self._fitted) >= MAX_FITTED:
                self._fitted.clear()
            names = frozenset(candidate.name for candidate in candidates)
            self._fitted[caller.adapters] = _Fitted(names, self._router.fit(candidates))
        return self._fitted[caller.adapters]

    def _read_store(self) -> None:
        """See which adapters there are; read those that are new."""
        held: dict[AdapterRef, Candidate | None] = {}
        for ref in self._store.labels():
            if ref.tag != DEFAULT_TAG:
                continue
            try:
                pinned = self._store.pin(ref)
                held[pinned] = self._held[pinned] if pinned in self._held else self._read(pinned)
            except AdapterNotFoundError:
                continue  # removed meanwhile
            except IntegrityError as error:
                held[ref] = None
                if ref not in self._held:
                    log.warning("router %s does not pick %s: %s", self.name, ref.name, error)
        if held != self._held:
            self._held = held
            self._fitted.clear()

    def _read(self, pinned: AdapterRef) -> Candidate | None:
        """None when it is of another base, or of a base or a method that is not known here."""
        provenance = self._store.describe(pinned).provenance
        if provenance is None or provenance.base is None or provenance.base.digest != self._base.digest:
            return None
        return Candidate(pinned.name, pinned.digest, provenance) if provenance.method in self._methods else None


def _checked(fitted: _Fitted, pick: Pick | None, router: str) -> str:
    """The picked name. Raises ValueError for what is no candidate's."""
    if pick is None:
        return ""
    if not isinstance(pick, Pick) or pick.name not in fitted.names:
        raise ValueError(f"picked {pick!r}, which is none of the {len(fitted.names)} candidates")
    log.debug("router %s: %s, score %s", router, pick.name, pick.score)
    return pick.name
