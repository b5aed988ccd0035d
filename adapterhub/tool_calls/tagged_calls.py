"""Calls whose arguments each stand between tags, as plain text."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import regex

from adapterhub.tool_calls.call_format import SPACE, Mark, Taken
from adapterhub.tool_calls.grammar import alternatives, json_of, quoted
from adapterhub.tool_calls.json_text import past_space
from adapterhub.tool_calls.tool import Tool, Tools
from adapterhub.tool_calls.tool_call import ToolCall
from adapterhub.tool_calls.typed import choices_of, typed, types_of

OPENS, CLOSES = "<tool_call>", "</tool_call>"


@dataclass(frozen=True)
class TaggedCalls:
    """A CallFormat: a name, then each argument's name and value between tags, all inside `<tool_call>`.

    A value ends at its closing tag that another argument or the call's end follows, so it may itself hold that tag.
    """

    name: str
    named: tuple[str, str]
    """Around the tool's name."""
    ends: str
    """Behind the last argument."""
    key: tuple[str, str]
    """Around an argument's name."""
    value: tuple[str, str]
    """Around its value."""
    gap: str = ""
    """White space that templates write before the name."""
    closes: str = CLOSES
    short_ids: bool = False

    @property
    def marks(self) -> tuple[str, ...]:
        tags = (self.named[0], self.key[0], self.value[0], self.value[1], self.ends)
        return (OPENS, CLOSES, *(tag.strip() for tag in tags if len(tag.strip()) > 1))

    @cached_property
    def pattern(self) -> Any:
        return regex.compile(f"{SPACE}{OPENS}{SPACE}(?P<body>){regex.escape(self.named[0])}[a-zA-Z0-9_-]")

    @cached_property
    def _head(self) -> Any:
        before, after = (regex.escape(tag.strip()) for tag in self.named)
        return regex.compile(rf"{before}([a-zA-Z0-9_-]{{1,64}}){after}\s*")

    @cached_property
    def _argument(self) -> Any:
        opens, named, given, closes = (regex.escape(tag.strip()) for tag in (*self.key, *self.value))
        follows = "|".join((opens, regex.escape(self.ends.strip() or CLOSES), r"\Z"))
        between = rf"{SPACE}{given}" if given else ""
        line = r"\n?" if self.value[1].startswith("\n") else ""
        pattern = rf"{opens}([^<>\n]{{1,256}}){named}{between}{line}(.*?){line}{closes}\s*(?={follows})"
        return regex.compile(pattern, regex.DOTALL)

    def take(self, text: str, at: int, tools: Tools, *, ended: bool) -> Taken:
        head = self._head.match(text, at)
        if head is None:
            raise ValueError("no name")
        tool, end, arguments = tools.get(head[1]), head.end(), {}
        while argument := self._argument.match(text, end):
            arguments[argument[1]] = typed(argument[2], tool.schema_of(argument[1]) if tool else {})
            end = argument.end()
        for closing in (self.ends.strip(), CLOSES):
            end = past_space(text, end)
            if text.startswith(closing, end):
                end += len(closing)
            elif not (ended and end == len(text) and closing == CLOSES):
                raise ValueError(f"not closed by {closing}")
        return Taken([ToolCall.of(head[1], arguments, tools)], end)

    def lark(self, tools: list[Tool], mark: Mark) -> str:
        rules: list[str] = []
        calls = [self._lark_of(tool, rules) for tool in tools]
        return alternatives(
            [mark(OPENS), *([quoted(self.gap)] if self.gap else []), "call", mark(CLOSES)], calls, rules
        )

    def _lark_of(self, tool: Tool, rules: list[str]) -> str:
        """A call with its arguments in the order of the schema; those that are not required may be left out."""
        required = tool.parameters.get("required") or ()
        parts = [quoted(f"{self.named[0]}{tool.name}{self.named[1]}")]
        for argument in tool.parameters.get("properties") or {}:
            rule = f"argument_{len(rules)}"
            schema = tool.schema_of(argument)
            opened = quoted("".join((self.key[0], argument, self.key[1], self.value[0])))
            types, choices = types_of(schema), choices_of(schema)
            if choices and all(isinstance(each, str) for each in choices):
                rules.append(f"{rule}: {opened} ({' | '.join(map(quoted, choices))}) {quoted(self.value[1])}")
            elif not types or "string" in types:
                rules.append(f"{rule}[suffix={quoted(self.value[1])}]: {opened} /(.|\\n)*/")
            else:
                rules.append(f"{rule}: {opened} {json_of(schema)} {quoted(self.value[1])}")
            parts.append(rule if argument in required else f"{rule}?")
        return " ".join([*parts, quoted(self.ends)] if self.ends else parts)
