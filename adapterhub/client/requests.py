"""What the client sends: generation requests, built from plain values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, TypedDict

from google.protobuf.descriptor import FieldDescriptor

from adapterhub.client.answers import ToolCall
from adapterhub.errors import InvalidInputError
from adapterhub.pb.v1 import inference_pb2
from adapterhub.structure import Structure

FormatKind = Literal["raw", "chat"]

_KINDS = {
    "raw": inference_pb2.PromptFormat.KIND_RAW,
    "chat": inference_pb2.PromptFormat.KIND_CHAT,
}


class Turn(NamedTuple):
    """What one side of a chat said."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: Sequence[ToolCall] = ()
    """Of an assistant's turn: the tools that it called."""
    tool_call_id: str = ""
    """Of a tool's turn: the id of the call that it answers."""

    def message(self) -> inference_pb2.Turn:
        calls = [call.message() for call in self.tool_calls]
        return inference_pb2.Turn(
            role=_ROLES[self.role], content=self.content, tool_calls=calls, tool_call_id=self.tool_call_id
        )


class Tool(NamedTuple):
    """A function that the model may call."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] | None = None
    """A JSON Schema of an object; None for a function without arguments."""

    def message(self) -> inference_pb2.Tool:
        schema = "" if self.parameters is None else json.dumps(self.parameters)
        return inference_pb2.Tool(name=self.name, description=self.description, parameters=schema)


class Chat(NamedTuple):
    """The turns of a chat so far, and what the model may call."""

    turns: Sequence[Turn]
    tools: Sequence[Tool] = ()
    tool_choice: Literal["auto", "none", "required"] = "auto"
    """Whether the model may, must not or must call one."""
    tool_name: str = ""
    """With `required`, the one to call."""

    def message(self) -> inference_pb2.Chat:
        return inference_pb2.Chat(
            turns=[turn.message() for turn in self.turns],
            tools=[tool.message() for tool in self.tools],
            tool_choice=_TOOL_CHOICES[self.tool_choice],
            tool_name=self.tool_name,
        )


Prompt = str | Sequence[int] | Sequence[Turn] | Chat
"""Text, token ids, or a chat: its turns, and with tools a `Chat`."""

_TOOL_CHOICES = {
    "auto": inference_pb2.TOOL_CHOICE_AUTO,
    "none": inference_pb2.TOOL_CHOICE_NONE,
    "required": inference_pb2.TOOL_CHOICE_REQUIRED,
}

_ROLES = {
    "system": inference_pb2.Turn.ROLE_SYSTEM,
    "user": inference_pb2.Turn.ROLE_USER,
    "assistant": inference_pb2.Turn.ROLE_ASSISTANT,
    "tool": inference_pb2.Turn.ROLE_TOOL,
}


class SamplingOptions(TypedDict, total=False):
    """How tokens are chosen; the limits and defaults are the server's."""

    max_new_tokens: int
    temperature: float
    top_k: int
    top_p: float
    seed: int
    ignore_eos: bool
    stop: Sequence[str]
    logprobs: int
    min_p: float
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    logit_bias: Mapping[int, float]
    min_tokens: int
    bad_words: Sequence[str]
    stop_token_ids: Sequence[int]
    prompt_logprobs: int
    lookup_tokens: int


def generate_request(
    prompt: Prompt,
    adapter: str,
    task: str,
    route_key: str,
    kind: FormatKind | None,
    system_prompt: str | None,
    sampling: SamplingOptions,
    *,
    n: int | None = None,
    best_of: int | None = None,
    structure: Structure | None = None,
    blend: Mapping[str, float] | None = None,
) -> inference_pb2.GenerateRequest:
    """Raises InvalidInputError for a value that cannot be sent at all; the server checks the others."""
    request = inference_pb2.GenerateRequest(sampling=_sampling(sampling))
    _fill(request, prompt, adapter, kind, system_prompt)
    for name, count in (("n", n), ("best_of", best_of)):
        if count is not None:
            with _naming(name):
                setattr(request, name, count)
    for field, value in (("task", task), ("route_key", route_key)):
        with _naming(field):
            setattr(request, field, value)
    if structure is not None:
        with _naming(structure.field):
            request.structure.CopyFrom(_structure(structure))
    if blend is not None:
        with _naming("blend"):
            request.blend.SetInParent()  # one of nothing is a blend too, and refused
            for ref, weight in blend.items():
                request.blend.adapters.add(adapter=ref, weight=weight)
    return request


def tokenize_request(
    prompt: str | Sequence[Turn] | Chat, adapter: str, kind: FormatKind | None, system_prompt: str | None
) -> inference_pb2.TokenizeRequest:
    """Raises as `generate_request`."""
    request = inference_pb2.TokenizeRequest()
    _fill(request, prompt, adapter, kind, system_prompt)
    return request


def _fill(
    request: inference_pb2.GenerateRequest | inference_pb2.TokenizeRequest,
    prompt: Prompt,
    adapter: str,
    kind: FormatKind | None,
    system_prompt: str | None,
) -> None:
    if isinstance(prompt, str):
        with _naming("text"):
            request.text = prompt
    elif isinstance(prompt, Chat) or (prompt and isinstance(prompt[0], Turn)):
        with _naming("chat"):
            chat = prompt if isinstance(prompt, Chat) else Chat(prompt)  # type: ignore[arg-type]
            request.chat.CopyFrom(chat.message())
    else:
        with _naming("token_ids"):
            request.token_ids.CopyFrom(inference_pb2.TokenIds(ids=prompt))  # type: ignore[union-attr,arg-type]
    with _naming("adapter"):
        request.adapter = adapter
    if kind is not None or system_prompt is not None:
        request.prompt_format.kind = _kind(kind or "chat")
    if system_prompt is not None:
        with _naming("prompt_format.system_prompt"):
            request.prompt_format.system_prompt = system_prompt


def _structure(structure: Structure) -> inference_pb2.Structure:
    if structure.choice is not None:
        return inference_pb2.Structure(choice=inference_pb2.Options(texts=structure.choice))
    return inference_pb2.Structure(**{structure.kind: getattr(structure, structure.kind)})


def _sampling(options: SamplingOptions) -> inference_pb2.Sampling:
    message = inference_pb2.Sampling()
    fields = message.DESCRIPTOR.fields_by_name
    for name, value in options.items():
        with _naming(f"sampling.{name}"):
            field = fields[name]
            if field.cpp_type == field.CPPTYPE_MESSAGE:
                getattr(message, name).update(value)
            elif field.is_repeated:
                getattr(message, name).extend(_items(value))
            else:
                if field.cpp_type in _COUNTS and isinstance(value, int) and value < 0:
                    raise ValueError(f"{value} (accepted: 0 or more)")
                setattr(message, name, value)
    return message


_COUNTS = (FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64)


def _items(value: object) -> list[object]:
    """One string is no list of its letters."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"{value!r} is not a list")
    return list(value)


def _kind(kind: FormatKind) -> inference_pb2.PromptFormat.Kind:
    if kind not in _KINDS:
        raise InvalidInputError(
            f"prompt_format.kind: {kind!r} (accepted: {', '.join(_KINDS)})", field="prompt_format.kind"
        )
    return _KINDS[kind]


@contextmanager
def _naming(field: str) -> Iterator[None]:
    """Raises InvalidInputError naming `field` where a value does not fit its type on the wire."""
    try:
        yield
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise InvalidInputError(f"{field}: {error}", field=field) from None
