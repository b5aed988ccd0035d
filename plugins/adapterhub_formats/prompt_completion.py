"""A prompt and its completion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapterhub.data_format import DataFormat
from adapterhub.records import Chat, Pair
from adapterhub_formats.fields import objects, text
from adapterhub_formats.turns import read_conversation


class PromptCompletion(DataFormat):
    """`{"prompt": text, "completion": text}`; both may be lists of turns."""

    name = "prompt_completion"
    shape = '{"prompt": text, "completion": text}'
    keys = ("prompt", "completion", "tools")

    def recognizes(self, values: Mapping[str, Any]) -> bool:
        return "completion" in values or "prompt" in values

    def read(self, values: Mapping[str, Any], line: int) -> Pair | Chat:
        if isinstance(values.get("prompt"), list) and isinstance(values.get("completion"), list):
            turns = [*objects(values, "prompt"), *objects(values, "completion")]
            return Chat(read_conversation(turns), tuple(objects(values, "tools")), line)
        return Pair(text(values, "prompt"), text(values, "completion"), line)
