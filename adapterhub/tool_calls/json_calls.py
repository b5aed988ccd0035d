"""Calls as JSON objects with a name and arguments, between marks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import regex

from adapterhub.tool_calls.call_format import SPACE, Mark, Taken
from adapterhub.tool_calls.grammar import alternatives, json_of, quoted
from adapterhub.tool_calls.json_text import past_space, read_value
from adapterhub.tool_calls.tool import Tool, Tools
from adapterhub.tool_calls.tool_call import ToolCall

SPACE_OR_NONE = "/[ \\n]?/"
"""In a grammar: some of a family's templates write it, some do not."""


@dataclass(frozen=True)
class JsonCalls:
    """A CallFormat: `<tool_call>{"name": ..., "arguments": {...}}</tool_call>` and its like."""

    name: str
    opens: str
    closes: str = ""
    """Empty where the calls go to the answer's end."""
    listed: bool = False
    """Whether between the marks is a list of calls, and not one."""
    bare: bool = False
    """Whether an answer may begin with calls without the opening mark, as it does then where a call is forced."""
    name_key: str = "name"
    arguments_key: str = "arguments"
    first: str = ""
    """What templates write in a call before its name."""
    short_ids: bool = False

    @property
    def marks(self) -> tuple[str, ...]:
        return tuple(mark for mark in (self.opens, self.closes) if mark)

    @cached_property
    def pattern(self) -> Any:
        body = r"(?P<body>\[)" if self.listed else r"(?P<body>\{)"
        pattern = f"{SPACE}{regex.escape(self.opens)}{SPACE}{body}"
        if self.bare:
            first = regex.escape(f'"{self.name_key}"')
            pattern = rf"\A{SPACE}(?P<body>\{{){SPACE}{first}{SPACE}:|{pattern}"
        return regex.compile(pattern)

    def take(self, text: str, at: int, tools: Tools, *, ended: bool) -> Taken:
        values, end = self._values(text, at)
        end = past_space(text, end) if self.closes else end
        if text.startswith(self.closes, end):
            end += len(self.closes)
        elif not (ended and end == len(text)):
            raise ValueError(f"not closed by {self.closes}")
        return Taken([self._call(value, tools) for value in values], end)

    def _values(self, text: str, at: int) -> tuple[list[Any], int]:
        value, end = read_value(text, at)
        if self.listed:
            if not value:
                raise ValueError("no calls")
            return value, end
        values = [value]
        while not self.closes and (next_at := past_space(text, end)) < len(text):
            value, end = read_value(text, next_at + (text[next_at] == ";"))
            values.append(value)
        return values, end

    def _call(self, value: Any, tools: Tools) -> ToolCall:
        if not isinstance(value, dict):
            raise ValueError("a call is no object")
        arguments = value.get(self.arguments_key, value.get("parameters", value.get("arguments")))
        return ToolCall.of(value.get(self.name_key), {} if arguments is None else arguments, tools)

    def lark(self, tools: list[Tool], mark: Mark) -> str:
        calls = [f"{quoted(self._opened(tool.name))} {json_of(tool.parameters)} {quoted('}')}" for tool in tools]
        inner = [quoted("["), SPACE_OR_NONE, "call", SPACE_OR_NONE, quoted("]")] if self.listed else ["call"]
        opening = [] if self.bare else [mark(self.opens), SPACE_OR_NONE]
        closing = [SPACE_OR_NONE, mark(self.closes)] if self.closes else []
        return alternatives([*opening, *inner, *closing], calls)

    def _opened(self, name: str) -> str:
        return f'{{{self.first}"{self.name_key}": "{name}", "{self.arguments_key}": '
