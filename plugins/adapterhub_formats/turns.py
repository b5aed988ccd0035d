"""The turns of a conversation, checked. Every function raises ValueError naming the turn.

A turn keeps what else it says beside role and content, for chat templates that know it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from adapterhub.records import Message
from adapterhub_formats.fields import from_json, kind

AFTER: Mapping[str, tuple[str, ...]] = {
    "": ("system", "user"),
    "system": ("user",),
    "user": ("assistant",),
    "assistant": ("user", "tool"),
    "tool": ("tool", "assistant"),
}
"""Which roles may follow one; the first turn follows none."""
ROLES = tuple(role for role in AFTER if role)


def read_turns(turns: Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
    """Turns of known roles in an order that makes sense, from the first one on."""
    if not turns:
        raise ValueError("the conversation is empty")
    read: list[Message] = []
    before = ""
    for number, turn in enumerate(turns, start=1):
        message = _turn(turn, number)
        if message["role"] not in AFTER[before]:
            follows = f"after {before!r}" if before else "first"
            raise ValueError(
                f"turn {number}: roles out of order: {message['role']!r} {follows} "
                f"(accepted: {', '.join(AFTER[before])})"
            )
        before = str(message["role"])
        read.append(message)
    return tuple(read)


def read_conversation(turns: Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
    """The same, and the assistant has the last turn."""
    read = read_turns(turns)
    if read[-1]["role"] != "assistant":
        raise ValueError(f"the last turn is not the assistant's, but of role {read[-1]['role']!r}")
    return read


def read_reply(turns: Sequence[Mapping[str, Any]], name: str) -> str:
    """What the assistant says in a reply of one turn."""
    if len(turns) != 1:
        raise ValueError(f"{name!r} has {len(turns)} turns after the prompt; accepted: one, of the assistant")
    message = _turn(turns[0], 1)
    if message["role"] != "assistant":
        raise ValueError(f"{name!r} is not the assistant's turn, but of role {message['role']!r}")
    if "tool_calls" in message:
        raise ValueError(f"{name!r} calls tools; accepted: text")
    return str(message["content"])


def _turn(turn: Mapping[str, Any], number: int) -> dict[str, Any]:
    role = turn.get("role")
    if not isinstance(role, str) or role not in ROLES:
        was = f"{role[:40]!r}" if isinstance(role, str) else kind(role) if "role" in turn else "missing"
        raise ValueError(f"turn {number}: the role is {was} (accepted: {', '.join(ROLES)})")
    if turn.get("weight") not in (None, 1):
        raise ValueError(f"turn {number}: 'weight' is not supported")
    message = {key: value for key, value in turn.items() if value is not None and key != "weight"}
    message["content"] = _content(turn.get("content"), number)
    if calls := turn.get("tool_calls"):
        if role != "assistant":
            raise ValueError(f"turn {number}: only the assistant calls tools, not {role!r}")
        message["tool_calls"] = _calls(calls, number)
    else:
        message.pop("tool_calls", None)
        if not message["content"].strip() and role != "tool":  # a tool may have nothing to say
            raise ValueError(f"turn {number}: the content is empty")
    return message


def _content(content: Any, number: int) -> str:
    """Text, or parts that are all text, joined."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise ValueError(f"turn {number}: the content is not text but {kind(content)}")
    for part in content:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise ValueError(f"turn {number}: a part of the content is not text")
    return "".join(part["text"] for part in content)


def _calls(calls: Any, number: int) -> list[dict[str, Any]]:
    """Calls as chat templates take them: the arguments are an object, not JSON in text."""
    if isinstance(calls, str):
        calls = from_json(calls, "tool_calls")
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise ValueError(f"turn {number}: 'tool_calls' is not a list of objects")
    return [_call(call, number) for call in calls]


def _call(call: Mapping[str, Any], number: int) -> dict[str, Any]:
    function = call.get("function", call)
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise ValueError(f"turn {number}: a call of a tool has no name")
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        arguments = from_json(arguments, "arguments") if arguments.strip() else {}
    if not isinstance(arguments, dict | None):
        raise ValueError(f"turn {number}: the arguments of {function['name'][:40]!r} are not an object")
    known = {key: call[key] for key in ("id",) if call.get(key) is not None}
    return {**known, "type": "function", "function": {"name": function["name"], "arguments": arguments or {}}}
