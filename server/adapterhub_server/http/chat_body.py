"""What a chat is asked, as our own message."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from adapterhub.config import Config
from adapterhub.errors import InvalidInputError
from adapterhub.pb.v1 import inference_pb2
from adapterhub_server.http.body import WHERE, shared_out, without_nulls
from adapterhub_server.http.generation_options import Count, GenerationOptions
from adapterhub_server.http.structures import StructureOptions

ROLES = {
    "system": inference_pb2.Turn.ROLE_SYSTEM,
    "developer": inference_pb2.Turn.ROLE_SYSTEM,
    "user": inference_pb2.Turn.ROLE_USER,
    "assistant": inference_pb2.Turn.ROLE_ASSISTANT,
    "tool": inference_pb2.Turn.ROLE_TOOL,
}
CHOICES = {
    "auto": inference_pb2.TOOL_CHOICE_AUTO,
    "none": inference_pb2.TOOL_CHOICE_NONE,
    "required": inference_pb2.TOOL_CHOICE_REQUIRED,
}


def _text(content: Any) -> Any:
    """The text of a list of parts, a line each."""
    if not isinstance(content, list):
        return content
    for number, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text" or not isinstance(part.get("text"), str):
            raise ValueError(f"part {number} is of type {kind!r} (accepted: parts of type 'text' with a 'text')")
    return "\n".join(part["text"] for part in content)


def _without_nulls(value: Any) -> Any:
    return without_nulls(value) if isinstance(value, dict) else value


class Called(Config):
    """The function that was called."""

    name: str
    arguments: str = ""


class Call(Config):
    """A call of a tool."""

    id: str
    type: Literal["function"] = "function"
    function: Called


class Said(Config):
    """One turn."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[str, BeforeValidator(_text)] = ""
    name: str = ""
    """Accepted and not told to the model: chat templates know no names."""
    tool_calls: tuple[Call, ...] = ()
    tool_call_id: str = ""
    annotations: tuple[()] = ()
    """What clients send back of an answer."""


class Function(Config):
    """A function that may be called."""

    name: str
    description: str = ""
    parameters: dict[str, Any] | None = None
    strict: bool = False


class Tool(Config):
    """A tool that may be called."""

    type: Literal["function"]
    function: Annotated[Function, BeforeValidator(_without_nulls)]


class NamedFunction(Config):
    """A function by its name."""

    name: str


class NamedTool(Config):
    """The tool to call."""

    type: Literal["function"]
    function: NamedFunction


class ChatOptions(Config):
    """What only a chat may be asked."""

    messages: tuple[Annotated[Said, BeforeValidator(_without_nulls)], ...] = Field(min_length=1)
    max_completion_tokens: Count | None = None
    """As `max_tokens`, which is its old name."""
    logprobs: bool = False
    top_logprobs: Count | None = None
    tools: tuple[Tool, ...] = ()
    tool_choice: Literal["auto", "none", "required"] | NamedTool | None = None

    def chat(self) -> inference_pb2.Chat:
        """The turns and tools."""
        chat = inference_pb2.Chat()
        for said in self.messages:
            turn = chat.turns.add(role=ROLES[said.role], content=said.content, tool_call_id=said.tool_call_id)
            for call in said.tool_calls:
                turn.tool_calls.add(id=call.id, name=call.function.name, arguments=call.function.arguments)
        for tool in self.tools:
            function = tool.function
            parameters = "" if function.parameters is None else json.dumps(function.parameters)
            chat.tools.add(name=function.name, description=function.description, parameters=parameters)
        if isinstance(self.tool_choice, NamedTool):
            chat.tool_choice, chat.tool_name = inference_pb2.TOOL_CHOICE_REQUIRED, self.tool_choice.function.name
        elif self.tool_choice is not None:
            chat.tool_choice = CHOICES[self.tool_choice]
        return chat

    @property
    def is_one_question(self) -> bool:
        """Whether it is one user's turn and nothing else, which adapters without a chat format answer too."""
        return [said.role for said in self.messages] == ["user"] and not self.tools and self.tool_choice is None


def read_chat(values: dict[str, Any], base: str) -> tuple[inference_pb2.GenerateRequest, GenerationOptions]:
    """Raises InvalidInputError naming what is not accepted."""
    ours, structures, own = shared_out(values, GenerationOptions, StructureOptions, ChatOptions)
    options = GenerationOptions.load(ours, where=WHERE)
    chat = ChatOptions.load(own, where=WHERE)
    message = options.message(base)
    if chat.is_one_question:
        message.text = chat.messages[0].content
    else:
        message.chat.CopyFrom(chat.chat())
    if chat.max_completion_tokens is not None:
        message.sampling.max_new_tokens = chat.max_completion_tokens
    if chat.top_logprobs is not None and not chat.logprobs:
        raise InvalidInputError("top_logprobs: needs logprobs", field="top_logprobs")
    if chat.logprobs:
        message.sampling.logprobs = chat.top_logprobs or 0
    if (structure := StructureOptions.load(structures, where=WHERE).message()) is not None:
        message.structure.CopyFrom(structure)
    return message, options
