"""The Adapters service: what is resident."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from adapterhub.engine import Engine
from adapterhub.errors import ConflictError
from adapterhub.pb.v1 import adapters_pb2, adapters_pb2_grpc
from adapterhub_server.catalog import Catalog

Context = grpc.aio.ServicerContext[Any, Any]


class AdaptersServicer(adapters_pb2_grpc.AdaptersServicer):
    def __init__(self, engine: Engine, catalog: Catalog) -> None:
        self._engine = engine
        self._catalog = catalog

    async def List(  # noqa: N802  gRPC's name
        self, request: adapters_pb2.ListAdaptersRequest, context: Context
    ) -> adapters_pb2.ListAdaptersResponse:
        return adapters_pb2.ListAdaptersResponse(adapters=self._resident())

    async def Load(  # noqa: N802  gRPC's name
        self, request: adapters_pb2.LoadAdapterRequest, context: Context
    ) -> adapters_pb2.LoadAdapterResponse:
        adapter = await self._catalog.get(request.adapter)
        await asyncio.to_thread(self._engine.load_adapter, adapter)  # it may have been evicted since
        found = next((resident for resident in self._resident() if resident.digest == adapter.digest), None)
        if found is None:
            raise ConflictError(f"adapter {request.adapter} was unloaded meanwhile")
        return adapters_pb2.LoadAdapterResponse(adapter=found)

    async def Unload(  # noqa: N802  gRPC's name
        self, request: adapters_pb2.UnloadAdapterRequest, context: Context
    ) -> adapters_pb2.UnloadAdapterResponse:
        return adapters_pb2.UnloadAdapterResponse(digest=self._catalog.unload(request.adapter))

    def _resident(self) -> list[adapters_pb2.ResidentAdapter]:
        return [
            adapters_pb2.ResidentAdapter(
                digest=status.digest,
                refs=self._catalog.names(status.digest),
                method=status.method,
                bytes=status.nbytes,
                running=status.running,
            )
            for status in sorted(self._engine.adapters())
            if status.tier == "resident"
        ]
