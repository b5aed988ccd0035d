"""The Server service: what this server is and how it fares."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import grpc

from adapterhub import __version__
from adapterhub.engine import Engine
from adapterhub.pb.v1 import server_pb2, server_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]

LIMITS = tuple(server_pb2.Limits.DESCRIPTOR.fields_by_name)
"""The engine's limits that are told, by its own names."""


class ServerServicer(server_pb2_grpc.ServerServicer):
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def Info(  # noqa: N802  gRPC's name
        self, request: server_pb2.InfoRequest, context: Context
    ) -> server_pb2.InfoResponse:
        base = self._engine.base
        return server_pb2.InfoResponse(
            version=__version__,
            base_id=base.record.id,
            base_revision=base.record.revision,
            base_digest=base.record.digest,
            runtime_digest=base.runtime_digest,
            quantization=base.quantization,
            weight_bytes=base.weight_bytes,
            max_context=self._engine.limits.max_length,
            methods=self._engine.methods,
            limits=server_pb2.Limits(**{name: getattr(self._engine.limits, name) for name in LIMITS}),
            stats=server_pb2.Stats(**asdict(self._engine.stats())),
        )
