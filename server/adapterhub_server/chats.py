"""The chat in a request: its turns as chat templates read them, and the tools that the model may call."""

from __future__ import annotations

import hashlib
import re
from typing import Any, Literal, NamedTuple

from adapterhub.errors import InvalidInputError
from adapterhub.json_object import load_object
from adapterhub.pb.v1 import inference_pb2
from adapterhub.prompt_format import Turn
from adapterhub.tool_calls import Tool, Tools
from adapterhub_server.sizes import MAX_TEXT_BYTES, check_size

MAX_TURNS = 1024
MAX_TOOLS = 128
MAX_TOOL_CALLS = 128
"""Of one turn."""
MAX_PARAMETERS_BYTES = 1 << 16
MAX_ID_BYTES = 256
TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")

Role = Literal["system", "user", "assistant", "tool"]

ROLES: dict[inference_pb2.Turn.Role, Role] = {
    inference_pb2.Turn.ROLE_SYSTEM: "system",
    inference_pb2.Turn.ROLE_USER: "user",
    inference_pb2.Turn.ROLE_ASSISTANT: "assistant",
    inference_pb2.Turn.ROLE_TOOL: "tool",
}


class Chat(NamedTuple):
    """What a request's chat says, checked."""

    turns: list[Turn]
    tools: Tools
    """Those that are shown to the model: none with TOOL_CHOICE_NONE."""
    must_call: list[Tool]
    """One of these has to be called; empty where none has to."""

    @classmethod
    def of(cls, message: inference_pb2.Chat) -> Chat:
        """Raises InvalidInputError naming the first field that is not accepted."""
        turns, tools = _turns(message), _tools(message)
        return cls(turns, *_chosen(message, tools))

    def with_short_ids(self) -> Chat:
        """The same with ids of calls that are nine letters and digits, where some templates take no others."""
        return self._replace(turns=[_with_short_ids(turn) for turn in self.turns])


def _turns(chat: inference_pb2.Chat) -> list[Turn]:
    if not 0 < len(chat.turns) <= MAX_TURNS:
        raise InvalidInputError(f"chat.turns: {len(chat.turns)} (accepted: 1 to {MAX_TURNS})", field="chat.turns")
    parts = [turn.content for turn in chat.turns]
    parts += [call.arguments for turn in chat.turns for call in turn.tool_calls]
    check_size("chat", "".join(parts), MAX_TEXT_BYTES)
    names: dict[str, str] = {}  # of tools, by the ids of their calls
    turns = [_turn(turn, number, names) for number, turn in enumerate(chat.turns)]
    if turns[-1]["role"] not in ("user", "tool"):
        raise _refused(
            f"chat.turns.{len(turns) - 1}.role",
            "the last turn is the user's, or a tool's (accepted: ROLE_USER, ROLE_TOOL)",
        )
    return turns


def _turn(message: inference_pb2.Turn, number: int, names: dict[str, str]) -> Turn:
    """The turn; `names` grows by its calls."""
    field = f"chat.turns.{number}"
    accepted = [each for each, role in ROLES.items() if role != "system" or not number]
    if message.role not in accepted:
        raise _refused(
            f"{field}.role", f"{message.role} (accepted here: {', '.join(map(inference_pb2.Turn.Role.Name, accepted))})"
        )
    turn: Turn = {"role": ROLES[message.role], "content": message.content}
    if message.tool_calls:
        turn["tool_calls"] = _calls(message, field, names)
    if (turn["role"] == "tool") != bool(message.tool_call_id):
        raise _refused(f"{field}.tool_call_id", "a tool's turn has one, and no other has")
    if message.tool_call_id:
        if message.tool_call_id not in names:
            raise _refused(f"{field}.tool_call_id", "no turn before it has a call with this id")
        turn["tool_call_id"], turn["name"] = message.tool_call_id, names[message.tool_call_id]
    return turn


def _calls(message: inference_pb2.Turn, field: str, names: dict[str, str]) -> list[dict[str, Any]]:
    if message.role != inference_pb2.Turn.ROLE_ASSISTANT:
        raise _refused(f"{field}.tool_calls", "only the assistant's turns have any")
    if len(message.tool_calls) > MAX_TOOL_CALLS:
        raise _refused(f"{field}.tool_calls", f"{len(message.tool_calls)} (accepted: at most {MAX_TOOL_CALLS})")
    calls = []
    for number, call in enumerate(message.tool_calls):
        each = f"{field}.tool_calls.{number}"
        if not 0 < len(call.id.encode()) <= MAX_ID_BYTES or call.id in names:
            raise _refused(f"{each}.id", f"1 to {MAX_ID_BYTES} bytes, and unique in its chat")
        _check_name(call.name, f"{each}.name")
        arguments = _object(call.arguments or "{}", f"{each}.arguments")
        names[call.id] = call.name
        calls.append({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}})
    return calls


def _tools(chat: inference_pb2.Chat) -> dict[str, Tool]:
    if len(chat.tools) > MAX_TOOLS:
        raise _refused("chat.tools", f"{len(chat.tools)} (accepted: at most {MAX_TOOLS})")
    check_size("chat.tools", "".join(tool.description + tool.parameters for tool in chat.tools), MAX_TEXT_BYTES)
    tools: dict[str, Tool] = {}
    for number, tool in enumerate(chat.tools):
        field = f"chat.tools.{number}"
        _check_name(tool.name, f"{field}.name")
        if tool.name in tools:
            raise _refused(f"{field}.name", f"two tools are named {tool.name!r}")
        tools[tool.name] = Tool(tool.name, tool.description, _parameters(tool.parameters, f"{field}.parameters"))
    return tools


def _parameters(text: str, field: str) -> dict[str, Any]:
    check_size(field, text, MAX_PARAMETERS_BYTES)
    schema = {"type": "object", "properties": {}} | (_object(text, field) if text else {})
    properties, required = schema["properties"], schema.get("required", [])
    if schema["type"] != "object":
        raise _refused(f"{field}", f"of type {schema['type']!r} (accepted: a JSON Schema of type object)")
    if not isinstance(properties, dict) or not all(isinstance(each, dict | bool) for each in properties.values()):
        raise _refused(f"{field}", "properties is no object of JSON Schemas")
    if not isinstance(required, list) or not all(isinstance(each, str) for each in required):
        raise _refused(f"{field}", "required is no list of names")
    return schema


def _chosen(chat: inference_pb2.Chat, tools: dict[str, Tool]) -> tuple[dict[str, Tool], list[Tool]]:
    """The tools that are shown, and those of which one has to be called."""
    choice = chat.tool_choice
    if choice not in inference_pb2.ToolChoice.values():
        raise _refused("chat.tool_choice", f"{choice} (accepted: {', '.join(inference_pb2.ToolChoice.keys())})")
    must = choice == inference_pb2.TOOL_CHOICE_REQUIRED
    if must and not tools:
        raise _refused("chat.tool_choice", "TOOL_CHOICE_REQUIRED needs tools")
    if chat.tool_name and not must:
        raise _refused("chat.tool_name", "needs TOOL_CHOICE_REQUIRED")
    if chat.tool_name and chat.tool_name not in tools:
        raise _refused("chat.tool_name", f"{chat.tool_name[:64]!r} is none of {', '.join(tools)}")
    if choice == inference_pb2.TOOL_CHOICE_NONE:
        return {}, []
    called = [tools[chat.tool_name]] if chat.tool_name else list(tools.values())
    return tools, called if must else []


def _with_short_ids(turn: Turn) -> Turn:
    turn = turn.copy()
    if "tool_calls" in turn:
        turn["tool_calls"] = [{**call, "id": _short(call["id"])} for call in turn["tool_calls"]]
    if "tool_call_id" in turn:
        turn["tool_call_id"] = _short(turn["tool_call_id"])
    return turn


def _short(call_id: str) -> str:
    return hashlib.sha256(call_id.encode()).hexdigest()[:9]


def _check_name(name: str, field: str) -> None:
    if not TOOL_NAME.fullmatch(name):
        raise _refused(field, f"{name[:64]!r} (accepted: 1 to 64 of a-z A-Z 0-9 _ -)")


def _object(text: str, field: str) -> dict[str, Any]:
    try:
        return load_object(text.encode())
    except ValueError as error:
        raise _refused(field, str(error)) from None


def _refused(field: str, reason: str) -> InvalidInputError:
    return InvalidInputError(f"{field}: {reason}", field=field)
