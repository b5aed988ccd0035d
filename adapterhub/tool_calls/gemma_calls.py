"""Calls as Gemma writes them: `call:name{key:value,...}`, with strings between marks of their own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import regex

from adapterhub.errors import InvalidInputError
from adapterhub.tool_calls.call_format import SPACE, Mark, Taken
from adapterhub.tool_calls.json_text import past_space, read_value
from adapterhub.tool_calls.tool import Tool, Tools
from adapterhub.tool_calls.tool_call import ToolCall

MAX_DEPTH = 32
_KEY = regex.compile(r"\s*([^\s:{},\[\]]{1,256})\s*:")


@dataclass(frozen=True)
class GemmaCalls:
    """A CallFormat. Keys have no quotes, and a string stands between two `quote`s, in which nothing is escaped."""

    name: str
    opens: str
    closes: str
    quote: str
    short_ids: bool = False

    @property
    def marks(self) -> tuple[str, ...]:
        return (self.opens, self.closes, self.quote)

    @cached_property
    def pattern(self) -> Any:
        return regex.compile(f"{SPACE}{regex.escape(self.opens)}(?P<body>)call:[a-zA-Z0-9_-]")

    @cached_property
    def _head(self) -> Any:
        return regex.compile(r"call:([a-zA-Z0-9_-]{1,64})(?=\{)")

    def take(self, text: str, at: int, tools: Tools, *, ended: bool) -> Taken:
        head = self._head.match(text, at)
        if head is None:
            raise ValueError("no name with arguments")
        arguments, end = self._value(text, head.end(), MAX_DEPTH)
        if text.startswith(self.closes, end):
            end += len(self.closes)
        elif not (ended and end == len(text)):
            raise ValueError(f"not closed by {self.closes}")
        return Taken([ToolCall.of(head[1], arguments, tools)], end)

    def lark(self, tools: list[Tool], mark: Mark) -> str:
        raise InvalidInputError(
            f"chat.tool_choice: TOOL_CHOICE_REQUIRED cannot be kept with the base's form of calls ({self.name})",
            field="chat.tool_choice",
        )

    def _value(self, text: str, at: int, depth: int) -> tuple[Any, int]:
        if not depth:
            raise ValueError("nested too deep")
        at = past_space(text, at)
        if text.startswith(self.quote, at):
            begin = at + len(self.quote)
            end = text.index(self.quote, begin)
            return text[begin:end], end + len(self.quote)
        if text.startswith("{", at):
            return self._object(text, at + 1, depth)
        if text.startswith("[", at):
            return self._list(text, at + 1, depth)
        return read_value(text, at)

    def _object(self, text: str, at: int, depth: int) -> tuple[dict[str, Any], int]:
        values: dict[str, Any] = {}
        while not text.startswith("}", past_space(text, at)):
            key = _KEY.match(text, at)
            if key is None:
                raise ValueError("no key")
            values[key[1].replace(self.quote, "")], at = self._value(text, key.end(), depth - 1)
            at = _past_comma(text, at, "}")
        return values, past_space(text, at) + 1

    def _list(self, text: str, at: int, depth: int) -> tuple[list[Any], int]:
        values: list[Any] = []
        while not text.startswith("]", past_space(text, at)):
            value, at = self._value(text, at, depth - 1)
            values.append(value)
            at = _past_comma(text, at, "]")
        return values, past_space(text, at) + 1


def _past_comma(text: str, at: int, closing: str) -> int:
    """Behind a comma, or at what closes. Raises ValueError at anything else."""
    at = past_space(text, at)
    if text.startswith(",", at):
        return at + 1
    if not text.startswith(closing, at):
        raise ValueError(f"neither a comma nor {closing}")
    return at
