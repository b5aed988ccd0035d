"""What a model may call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Tool(NamedTuple):
    """A function, as its caller describes it."""

    name: str
    """Of a-z A-Z 0-9 _ -."""
    description: str
    parameters: Mapping[str, Any]
    """A JSON Schema of an object."""

    def definition(self) -> dict[str, Any]:
        """As chat templates read it."""
        function = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {"type": "function", "function": function}

    def schema_of(self, argument: str) -> Mapping[str, Any]:
        """The schema of one argument; empty where there is none."""
        properties = self.parameters.get("properties")
        schema = properties.get(argument) if isinstance(properties, Mapping) else None
        return schema if isinstance(schema, Mapping) else {}


Tools = Mapping[str, Tool]
"""By name."""
