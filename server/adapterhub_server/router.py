"""Which adapter answers a request."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from adapterhub.errors import InvalidInputError, NotFoundError
from adapterhub.pb.v1 import inference_pb2


class Choice(NamedTuple):
    """An adapter and the rule that chose it, as RouteChoice tells it."""

    adapter: str
    """A reference; empty for the bare base."""
    by: str
    name: str = ""
    """The task's, the rule's or the router's."""
    falls_back: bool = False
    """Whether the bare base answers when the adapter is not there."""

    def message(self) -> inference_pb2.RouteChoice:
        return inference_pb2.RouteChoice(by=self.by, name=self.name, adapter=self.adapter)


class Router:
    """The adapter that the request names, or the bare base."""

    async def choose(
        self, message: inference_pb2.GenerateRequest, metadata: Iterable[tuple[str, str | bytes]]
    ) -> Choice:
        """Raises InvalidInputError for a request that names both an adapter and a task, NotFoundError."""
        if message.task and message.adapter:
            raise InvalidInputError("task: not accepted beside adapter", field="task")
        if message.task:
            raise NotFoundError(f"no route for task {message.task[:128]!r}", resource=message.task[:128])
        return Choice(message.adapter, "adapter" if message.adapter else "base")
