"""The Adapters service: what the server knows, and how it is loaded, kept and let go."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import grpc

from adapterhub.client.public_text import without_folders
from adapterhub.errors import InvalidInputError
from adapterhub.pb.v1 import adapters_pb2, adapters_pb2_grpc
from adapterhub.store import AdapterRef
from adapterhub_server.allowed import allowed
from adapterhub_server.caller import ANYBODY, CALLER
from adapterhub_server.catalog import Catalog
from adapterhub_server.known_adapter import KnownAdapter, State

Context = grpc.aio.ServicerContext[Any, Any]

STATES: dict[State, adapters_pb2.AdapterState] = {
    "queued": adapters_pb2.ADAPTER_STATE_QUEUED,
    "downloading": adapters_pb2.ADAPTER_STATE_DOWNLOADING,
    "validating": adapters_pb2.ADAPTER_STATE_VALIDATING,
    "host": adapters_pb2.ADAPTER_STATE_HOST,
    "resident": adapters_pb2.ADAPTER_STATE_RESIDENT,
    "failed": adapters_pb2.ADAPTER_STATE_FAILED,
    "disk": adapters_pb2.ADAPTER_STATE_DISK,
    "unloaded": adapters_pb2.ADAPTER_STATE_UNLOADED,
}


class AdaptersServicer(adapters_pb2_grpc.AdaptersServicer):
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def List(  # noqa: N802  gRPC's name
        self, request: adapters_pb2.ListAdaptersRequest, context: Context
    ) -> adapters_pb2.ListAdaptersResponse:
        caller = CALLER.get()
        known = self._catalog.list()
        if caller.adapters != ANYBODY.adapters:  # what no name points at any more is nobody's in particular
            known = [each for each in known if any(caller.may_use(AdapterRef.parse(ref)) for ref in each.refs)]
        found = map(_message, known)
        wanted = set(request.states)
        if unknown := wanted - set(STATES.values()):
            raise InvalidInputError(f"states: {min(unknown)} is none (accepted: those of AdapterState)", field="states")
        return adapters_pb2.ListAdaptersResponse(
            adapters=[each for each in found if not wanted or each.state in wanted]
        )

    async def Get(  # noqa: N802
        self, request: adapters_pb2.GetAdapterRequest, context: Context
    ) -> adapters_pb2.GetAdapterResponse:
        return adapters_pb2.GetAdapterResponse(adapter=_message(await self._catalog.describe(allowed(request.adapter))))

    async def Load(  # noqa: N802
        self, request: adapters_pb2.LoadAdapterRequest, context: Context
    ) -> adapters_pb2.LoadAdapterResponse:
        return adapters_pb2.LoadAdapterResponse(adapter=_message(await self._catalog.load(allowed(request.adapter))))

    async def Unload(  # noqa: N802
        self, request: adapters_pb2.UnloadAdapterRequest, context: Context
    ) -> adapters_pb2.UnloadAdapterResponse:
        return adapters_pb2.UnloadAdapterResponse(digest=await self._catalog.unload(allowed(request.adapter)))

    async def Pin(  # noqa: N802
        self, request: adapters_pb2.PinAdapterRequest, context: Context
    ) -> adapters_pb2.PinAdapterResponse:
        return adapters_pb2.PinAdapterResponse(adapter=_message(await self._catalog.pin(allowed(request.adapter))))

    async def Unpin(  # noqa: N802
        self, request: adapters_pb2.UnpinAdapterRequest, context: Context
    ) -> adapters_pb2.UnpinAdapterResponse:
        return adapters_pb2.UnpinAdapterResponse(adapter=_message(await self._catalog.unpin(allowed(request.adapter))))

    async def Watch(  # noqa: N802
        self, request: adapters_pb2.WatchAdapterRequest, context: Context
    ) -> AsyncGenerator[adapters_pb2.WatchAdapterResponse]:
        async with aclosing(self._catalog.watch(allowed(request.adapter))) as states:
            async for known in states:
                yield adapters_pb2.WatchAdapterResponse(adapter=_message(known))


def _message(known: KnownAdapter) -> adapters_pb2.Adapter:
    return adapters_pb2.Adapter(
        digest=known.digest,
        refs=[ref for ref in known.refs if CALLER.get().may_use(AdapterRef.parse(ref))],
        method=known.method,
        bytes=known.nbytes,
        running=known.running,
        state=STATES[known.state],
        reason=without_folders(known.reason),
        pinned=known.pinned,
    )
