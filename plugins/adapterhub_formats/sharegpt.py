"""Conversations as they were shared from a browser, with the roles that others added since.

Source of the names: LLaMA-Factory's data/README.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapterhub.data_format import DataFormat
from adapterhub.records import Chat
from adapterhub_formats.fields import from_json, kind, objects, optional_text
from adapterhub_formats.turns import read_conversation

ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "function_call": "assistant",
    "system": "system",
    "tool": "tool",
    "observation": "tool",
    "function_response": "tool",
}


class ShareGpt(DataFormat):
    """`{"conversations": [{"from": "human", "value": ...}]}`; also with `role` and `content` in the turns."""

    name = "sharegpt"
    shape = '{"conversations": [{"from": "human", "value": text}, {"from": "gpt", "value": text}, ...]}'
    keys = ("conversations", "system", "tools")

    def recognizes(self, values: Mapping[str, Any]) -> bool:
        return "conversations" in values

    def read(self, values: Mapping[str, Any], line: int) -> Chat:
        if "conversations" not in values:
            raise ValueError("no 'conversations'")
        turns = [_turn(turn, number) for number, turn in enumerate(objects(values, "conversations"), start=1)]
        if (system := optional_text(values, "system")) and turns:
            turns.insert(0, {"role": "system", "content": system})
        return Chat(read_conversation(turns), tuple(objects(values, "tools")), line)


def _turn(turn: Mapping[str, Any], number: int) -> Mapping[str, Any]:
    if turn.get("from") is None and turn.get("role") is not None:
        return turn
    said_by = turn.get("from")
    if not isinstance(said_by, str) or said_by not in ROLES:
        was = f"{said_by[:40]!r}" if isinstance(said_by, str) else kind(said_by) if "from" in turn else "missing"
        raise ValueError(f"turn {number}: 'from' is {was} (accepted: {', '.join(ROLES)})")
    value = turn.get("value")
    if said_by != "function_call":
        return {"role": ROLES[said_by], "content": value}
    if not isinstance(value, str):
        raise ValueError(f"turn {number}: the content is not text but {kind(value)}")
    called = from_json(value, "value")
    return {"role": "assistant", "tool_calls": called if isinstance(called, list) else [called]}
