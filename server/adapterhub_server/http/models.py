"""What a caller may name as `model`: the base, and adapters of the store and of the Hub."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from adapterhub.errors import AdapterNotFoundError
from adapterhub.store import AdapterRef, StoredAdapter
from adapterhub.store.ref import DEFAULT_TAG
from adapterhub_server.behind import Behind
from adapterhub_server.caller import CALLER
from adapterhub_server.known_adapter import KnownAdapter

OWNER = "adapterhub"


class Models:
    """Reads the store's index; no adapter is loaded."""

    def __init__(self, behind: Behind) -> None:
        self._behind = behind
        self._base = behind.engine.base.record
        self._began = int(time.time())

    async def all(self) -> dict[str, Any]:
        """OpenAI's list of models."""
        return {"object": "list", "data": await self._cards()}

    async def get(self, name: str) -> dict[str, Any]:
        """One of them. Raises AdapterNotFoundError."""
        for card in await self._cards():
            if name in (card["id"], card["root"], f"{card['id']}:{DEFAULT_TAG}"):
                return card
        raise AdapterNotFoundError(f"no model {name!r} here", resource=name)

    async def _cards(self) -> list[dict[str, Any]]:
        """The base first. Adapters of other bases, unloaded ones and those that cannot be read are left out."""
        stored = await asyncio.to_thread(self._behind.store.list)
        known = {each.digest: each for each in self._behind.catalog.list() if each.digest}
        cards = [self._base_card()]
        cards += [
            self._card(each.ref, _created(each.created), each.method, known.get(each.ref.digest))
            for each in stored
            if self._serves(each, known)
        ]
        return cards + [
            self._card(ref, self._began, each.method, each)
            for each in known.values()
            for ref in _on_the_hub(each)
            if each.state != "unloaded" and CALLER.get().may_use(ref)
        ]

    def _serves(self, stored: StoredAdapter, known: dict[str, KnownAdapter]) -> bool:
        fits = not stored.base_digest or stored.base_digest == self._base.digest
        here = known.get(stored.ref.digest)
        unloaded = here is not None and here.state == "unloaded"
        return fits and not stored.error and not unloaded and CALLER.get().may_use(stored.ref)

    def _base_card(self) -> dict[str, Any]:
        return {
            "id": self._base.id,
            "object": "model",
            "created": self._began,
            "owned_by": OWNER,
            "root": self._base.id,
            "parent": None,
            "max_model_len": self._behind.engine.limits.max_length,
            "adapterhub": {"digest": self._base.digest, "quantization": self._behind.engine.base.quantization},
        }

    def _card(self, ref: AdapterRef, created: int, method: str, known: KnownAdapter | None) -> dict[str, Any]:
        name = ref.label.removesuffix(f":{DEFAULT_TAG}") if not ref.hub else ref.label
        state = known.state if known is not None else "disk"
        return {
            "id": name,
            "object": "model",
            "created": created,
            "owned_by": OWNER,
            "root": str(ref),
            "parent": self._base.id,
            "adapterhub": {"digest": ref.digest, "method": method, "state": state},
        }


def _on_the_hub(known: KnownAdapter) -> Iterator[AdapterRef]:
    for name in known.refs:
        ref = AdapterRef.parse(name)
        if ref.hub:
            yield AdapterRef(ref.name, ref.tag, known.digest, hub=True)


def _created(iso: str) -> int:
    return int(datetime.fromisoformat(iso).timestamp()) if iso else 0
