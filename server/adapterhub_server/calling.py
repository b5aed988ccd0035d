"""How calls of tools are read out of one request's answers."""

from __future__ import annotations

from typing import NamedTuple

from adapterhub.tool_calls import CallReader, Tools
from adapterhub.tool_calls.call_format import CallFormat


class Calling(NamedTuple):
    """Of a request that shows tools, on a base whose form of calls is known."""

    form: CallFormat
    tools: Tools
    silent: frozenset[int]
    """As `Request.silent`: the marks of calls may be special tokens, and must be seen."""

    def reader(self) -> CallReader:
        """One for each answer."""
        return CallReader(self.form, self.tools)
