"""The Routes service: from tasks to adapters, changed while the server runs."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import grpc

from adapterhub.pb.v1 import routes_pb2, routes_pb2_grpc
from adapterhub_server.route_table import RouteTable
from adapterhub_server.routes import Route, Rule, Target

Context = grpc.aio.ServicerContext[Any, Any]

FALLBACKS: dict[routes_pb2.RouteFallback, Literal["error", "base"]] = {
    routes_pb2.ROUTE_FALLBACK_UNSPECIFIED: "error",
    routes_pb2.ROUTE_FALLBACK_ERROR: "error",
    routes_pb2.ROUTE_FALLBACK_BASE: "base",
}


class RoutesServicer(routes_pb2_grpc.RoutesServicer):
    def __init__(self, table: RouteTable) -> None:
        self._table = table

    async def List(  # noqa: N802  gRPC's name
        self, request: routes_pb2.ListRoutesRequest, context: Context
    ) -> routes_pb2.ListRoutesResponse:
        return routes_pb2.ListRoutesResponse(routes=map(_message, self._table.all()), etag=self._table.etag)

    async def Set(  # noqa: N802
        self, request: routes_pb2.SetRouteRequest, context: Context
    ) -> routes_pb2.SetRouteResponse:
        etag = await asyncio.to_thread(self._table.set, _route(request.route), etag=request.etag)
        return routes_pb2.SetRouteResponse(etag=etag)

    async def Delete(  # noqa: N802
        self, request: routes_pb2.DeleteRouteRequest, context: Context
    ) -> routes_pb2.DeleteRouteResponse:
        etag = await asyncio.to_thread(self._table.delete, request.task, etag=request.etag)
        return routes_pb2.DeleteRouteResponse(etag=etag)


def _route(message: routes_pb2.Route) -> Route:
    """Raises ConfigError naming the field."""
    values = {
        "task": message.task,
        "rules": [
            {"name": rule.name, "metadata": dict(rule.metadata), "targets": _targets(rule.targets)}
            for rule in message.rules
        ],
        "targets": _targets(message.targets),
        "fallback": FALLBACKS.get(message.fallback, message.fallback),
        "system_prompt": message.system_prompt if message.HasField("system_prompt") else None,
    }
    return Route.load(values, where="route")


def _targets(messages: Any) -> list[dict[str, object]]:
    return [{"adapter": message.adapter, "weight": message.weight} for message in messages]


def _message(route: Route) -> routes_pb2.Route:
    fallback = routes_pb2.ROUTE_FALLBACK_BASE if route.fallback == "base" else routes_pb2.ROUTE_FALLBACK_ERROR
    return routes_pb2.Route(
        task=route.task,
        rules=map(_rule_message, route.rules),
        targets=map(_target_message, route.targets),
        fallback=fallback,
        system_prompt=route.system_prompt,
    )


def _rule_message(rule: Rule) -> routes_pb2.RouteRule:
    targets = map(_target_message, rule.targets)
    return routes_pb2.RouteRule(name=rule.name, metadata=rule.metadata, targets=targets)


def _target_message(target: Target) -> routes_pb2.RouteTarget:
    return routes_pb2.RouteTarget(adapter=target.adapter, weight=target.weight)
