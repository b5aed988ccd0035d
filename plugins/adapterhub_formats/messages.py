"""Conversations as OpenAI's chat interface and transformers' chat templates have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapterhub.data_format import DataFormat
from adapterhub.records import Chat
from adapterhub_formats.fields import objects
from adapterhub_formats.turns import read_conversation


class Messages(DataFormat):
    """`{"messages": [{"role": ..., "content": ...}]}`, with the tools that may be called."""

    name = "messages"
    shape = '{"messages": [{"role": "user", "content": text}, ...], "tools": [...] or absent}'
    keys = ("messages", "tools")

    def recognizes(self, values: Mapping[str, Any]) -> bool:
        return "messages" in values

    def read(self, values: Mapping[str, Any], line: int) -> Chat:
        if "messages" not in values:
            raise ValueError("no 'messages'")
        return Chat(read_conversation(objects(values, "messages")), tuple(objects(values, "tools")), line)
