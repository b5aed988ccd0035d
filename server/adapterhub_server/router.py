"""Which adapter answers a request."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from adapterhub.errors import InvalidInputError
from adapterhub.pb.v1 import inference_pb2
from adapterhub_server.blends import told
from adapterhub_server.prompt_picks import PromptPicks
from adapterhub_server.route_table import RouteTable
from adapterhub_server.routes import draw

MAX_KEY_BYTES = 256

Metadata = Iterable[tuple[str, str | bytes]]


class Choice(NamedTuple):
    """An adapter and the rule that chose it, as RouteChoice tells it."""

    adapter: str
    """A reference, or a blend of several; empty for the bare base."""
    by: str
    name: str = ""
    """The task's, the rule's or the router's."""
    falls_back: bool = False
    """Whether the bare base answers when the adapter is not there."""
    system_prompt: str | None = None
    """The system turn of a chat that brings none."""

    def message(self) -> inference_pb2.RouteChoice:
        return inference_pb2.RouteChoice(by=self.by, name=self.name, adapter=self.adapter)


class Router:
    """The adapter a request names, its task's, or the one that a router picks by the prompt."""

    def __init__(self, routes: RouteTable, picks: PromptPicks | None = None) -> None:
        self._routes = routes
        self._picks = picks

    async def choose(
        self, message: inference_pb2.GenerateRequest, metadata: Metadata, *, names_base: bool = False
    ) -> Choice:
        """With `names_base`, a request that names nothing means the bare base, whatever a router would pick.

        Raises InvalidInputError for a request that names more than one of adapter, task and blend, NotFoundError, and
        RouterError when the router fails.
        """
        if message.HasField("blend"):
            for field in ("adapter", "task"):
                if getattr(message, field):
                    raise InvalidInputError(f"{field}: not accepted beside blend", field=field)
            return Choice(told(message.blend), "blend")
        if message.task and message.adapter:
            raise InvalidInputError("task: not accepted beside adapter", field="task")
        if len(message.route_key.encode()) > MAX_KEY_BYTES:
            raise InvalidInputError(f"route_key: over {MAX_KEY_BYTES} bytes in UTF-8", field="route_key")
        if message.task:
            return self._of_task(message.task, message.route_key, metadata)
        if message.adapter:
            return Choice(message.adapter, "adapter")
        prompt = _text(message)
        if self._picks is not None and prompt and not names_base:
            return Choice(await self._picks.pick(prompt), "router", self._picks.name, falls_back=True)
        return Choice("", "base")

    def _of_task(self, task: str, key: str, metadata: Metadata) -> Choice:
        route = self._routes.get(task)
        given: defaultdict[str, set[str]] = defaultdict(set)
        for name, value in metadata:
            given[name].add(value if isinstance(value, str) else value.decode(errors="replace"))
        falls_back = route.fallback == "base"
        for rule in route.rules:
            if rule.matches(given):
                return Choice(draw(rule.targets, task, key).adapter, "rule", rule.name, falls_back, route.system_prompt)
        return Choice(draw(route.targets, task, key).adapter, "task", task, falls_back, route.system_prompt)


def _text(message: inference_pb2.GenerateRequest) -> str:
    """What a router looks at: the text, or the last turn of a chat."""
    if message.WhichOneof("prompt") == "chat" and message.chat.turns:
        return message.chat.turns[-1].content
    return message.text
