"""Calls as a name, and its arguments as a JSON object behind a mark."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import regex

from adapterhub.tool_calls.call_format import SPACE, Mark, Taken
from adapterhub.tool_calls.grammar import alternatives, json_of, quoted
from adapterhub.tool_calls.json_text import read_value
from adapterhub.tool_calls.tool import Tool, Tools
from adapterhub.tool_calls.tool_call import ToolCall


@dataclass(frozen=True)
class NamedCalls:
    """A CallFormat: `[TOOL_CALLS]name[ARGS]{...}`, once for each call, maybe with an id before the arguments."""

    name: str
    opens: str
    identifies: str
    """Before a call's id."""
    separates: str
    """Before the arguments."""
    short_ids: bool = True
    closes: str = ""

    @property
    def marks(self) -> tuple[str, ...]:
        return (self.opens, self.separates, self.identifies)

    @cached_property
    def pattern(self) -> Any:
        return regex.compile(f"{SPACE}{regex.escape(self.opens)}{SPACE}(?P<body>)[a-zA-Z0-9_-]")

    @cached_property
    def _head(self) -> Any:
        identified = rf"(?:{regex.escape(self.identifies)}\w{{1,64}})?"
        return regex.compile(rf"([a-zA-Z0-9_-]{{1,64}}){SPACE}{identified}{regex.escape(self.separates)}")

    def take(self, text: str, at: int, tools: Tools, *, ended: bool) -> Taken:
        head = self._head.match(text, at)
        if head is None:
            raise ValueError("no name with arguments")
        arguments, end = read_value(text, head.end())
        return Taken([ToolCall.of(head[1], arguments, tools)], end)

    def lark(self, tools: list[Tool], mark: Mark) -> str:
        calls = [f"{quoted(tool.name)} {mark(self.separates)} {json_of(tool.parameters)}" for tool in tools]
        return alternatives([mark(self.opens), "call"], calls)
