"""Routes as plain tuples, there and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, Self

from adapterhub.pb.v1 import routes_pb2

Fallback = Literal["error", "base"]

_FALLBACKS: dict[Fallback, routes_pb2.RouteFallback] = {
    "error": routes_pb2.ROUTE_FALLBACK_ERROR,
    "base": routes_pb2.ROUTE_FALLBACK_BASE,
}


class RouteTarget(NamedTuple):
    """An adapter, empty for the bare base, and its share of the requests."""

    adapter: str
    weight: int = 1

    @classmethod
    def of(cls, message: routes_pb2.RouteTarget) -> Self:
        return cls(message.adapter, message.weight)

    def message(self) -> routes_pb2.RouteTarget:
        return routes_pb2.RouteTarget(adapter=self.adapter, weight=self.weight)


class RouteRule(NamedTuple):
    """Targets for requests that have all of this metadata."""

    name: str
    metadata: Mapping[str, str]
    targets: tuple[RouteTarget, ...]

    @classmethod
    def of(cls, message: routes_pb2.RouteRule) -> Self:
        return cls(message.name, dict(message.metadata), tuple(map(RouteTarget.of, message.targets)))

    def message(self) -> routes_pb2.RouteRule:
        targets = [target.message() for target in self.targets]
        return routes_pb2.RouteRule(name=self.name, metadata=self.metadata, targets=targets)


class Route(NamedTuple):
    """What a task's requests are answered by."""

    task: str
    targets: tuple[RouteTarget, ...]
    rules: tuple[RouteRule, ...] = ()
    """Tried in this order, before the targets."""
    fallback: Fallback = "error"
    """What happens when the chosen adapter is not there."""
    system_prompt: str | None = None
    """The system turn of chats that come by this route and bring none, in place of the adapter's."""

    @classmethod
    def of(cls, message: routes_pb2.Route) -> Self:
        fallback: Fallback = "base" if message.fallback == routes_pb2.ROUTE_FALLBACK_BASE else "error"
        targets, rules = tuple(map(RouteTarget.of, message.targets)), tuple(map(RouteRule.of, message.rules))
        system_prompt = message.system_prompt if message.HasField("system_prompt") else None
        return cls(message.task, targets, rules, fallback, system_prompt)

    def message(self) -> routes_pb2.Route:
        targets = [target.message() for target in self.targets]
        rules = [rule.message() for rule in self.rules]
        return routes_pb2.Route(
            task=self.task,
            targets=targets,
            rules=rules,
            fallback=_FALLBACKS[self.fallback],
            system_prompt=self.system_prompt,
        )
