"""A call that a model made."""

from __future__ import annotations

import uuid
from typing import Any, NamedTuple

from adapterhub.tool_calls.json_text import written
from adapterhub.tool_calls.tool import Tools


class ToolCall(NamedTuple):
    """One call of a tool."""

    id: str
    """Unique."""
    name: str
    arguments: str
    """A JSON object."""

    @classmethod
    def of(cls, name: object, arguments: Any, tools: Tools) -> ToolCall:
        """Raises ValueError where it is no call of one of these tools."""
        if not isinstance(name, str) or name not in tools:
            raise ValueError(f"{name!r} is none of the tools")
        if not isinstance(arguments, dict):
            raise ValueError("the arguments are no object")
        return cls(f"call_{uuid.uuid4().hex[:24]}", name, written(arguments))
