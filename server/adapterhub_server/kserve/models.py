"""Models by their names: an adapter is one, and so is the base."""

from __future__ import annotations

import asyncio

from adapterhub.client.public_text import without_folders
from adapterhub.engine import Engine
from adapterhub.errors import ConflictError, InvalidInputError, NotFoundError
from adapterhub.pb.compatible import kserve_pb2
from adapterhub.store import AdapterRef, Store
from adapterhub_server.allowed import allowed
from adapterhub_server.caller import CALLER
from adapterhub_server.catalog import Catalog
from adapterhub_server.known_adapter import State
from adapterhub_server.labels import short

Index = kserve_pb2.RepositoryIndexResponse.ModelIndex
READY = "READY"
STATES: dict[State, str] = {
    "queued": "LOADING",
    "downloading": "LOADING",
    "validating": "LOADING",
    "host": READY,
    "disk": READY,
    "resident": READY,
    "failed": "UNAVAILABLE",
    "unloaded": "UNAVAILABLE",
}
"""What is not resident and not refused is loaded for the request that names it."""


class Models:
    """Reads the catalog and the store for a caller, who sees what the key may use."""

    def __init__(self, engine: Engine, catalog: Catalog, store: Store) -> None:
        self._engine = engine
        self._catalog = catalog
        self._store = store
        self._base = engine.base.record

    def adapter(self, name: str, version: str = "") -> str:
        """The reference of a model's adapter; empty for the base, which stands before an adapter of its name.

        Raises InvalidInputError without a name, NotFoundError for another version of the base, RefError and
        ForbiddenError.
        """
        if not name:
            raise InvalidInputError("model_name: nothing given", field="model_name")
        if name == self._base.id:
            if version not in ("", self._base.digest):
                raise NotFoundError(
                    f"model {name}, version {version!r} (accepted: none, or {self._base.digest})", resource=name
                )
            return ""
        return allowed(name + ("@" if version.startswith("sha256:") else ":") * bool(version) + version)

    def version(self, digest: str) -> str:
        """The version of the model that answered, by its adapter's digest."""
        return digest or self._base.digest

    async def digest(self, name: str, version: str) -> str:
        """The version of a model that answers requests now.

        Raises as `adapter`; AdapterNotFoundError, ConflictError for one that was unloaded, and IntegrityError.
        """
        ref = self.adapter(name, version)
        return self.version((await self._catalog.get(ref)).digest if ref else "")

    async def ready(self, name: str, version: str) -> bool:
        """Whether a model answers. Raises as `digest`, but where it is not there, or not any more."""
        try:
            await self.digest(name, version)
        except (NotFoundError, ConflictError):
            return False
        return self._engine.alive

    async def load(self, name: str) -> None:
        """Until it is resident. Raises as `Catalog.load` and `Catalog.resident`."""
        if ref := self.adapter(name):
            await self._catalog.load(ref)
            await self._catalog.resident(ref)

    async def unload(self, name: str) -> None:
        """Raises AdapterNotFoundError when it is not loaded, and ConflictError for the base."""
        ref = self.adapter(name)
        if not ref:
            raise ConflictError(f"model {name} is the base, which is never unloaded")
        await self._catalog.unload(ref)

    async def index(self) -> list[Index]:
        """The base; the adapters that are known; those in the store that were made for the base."""
        caller = CALLER.get()
        known = {
            ref: Index(
                name=short(ref), version=each.digest, state=STATES[each.state], reason=without_folders(each.reason)
            )
            for each in self._catalog.list()
            for ref in each.refs
        }
        for stored in await asyncio.to_thread(self._store.list):
            if stored.base_digest == self._base.digest:
                ref = stored.ref.label
                known.setdefault(ref, Index(name=short(ref), version=stored.ref.digest, state=READY))
        seen = [known[ref] for ref in sorted(known) if caller.may_use(AdapterRef.parse(ref))]
        return [Index(name=self._base.id, version=self._base.digest, state=READY), *seen]
