"""From the prompt in a request to the token ids the model reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from adapterhub.engine import Limits, Servable
from adapterhub.errors import BaseMismatchError, ConfigError, InvalidInputError
from adapterhub.pb.v1 import inference_pb2
from adapterhub.prompt_format import FormatKind, PromptFormat, Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_TEXT_BYTES = 1 << 20
MAX_SYSTEM_PROMPT_BYTES = 1 << 16
MAX_TURNS = 1024

KINDS: dict[inference_pb2.PromptFormat.Kind, FormatKind] = {
    inference_pb2.PromptFormat.KIND_RAW: "raw",
    inference_pb2.PromptFormat.KIND_CHAT: "chat",
}

ROLES: dict[inference_pb2.Turn.Role, Literal["system", "user", "assistant"]] = {
    inference_pb2.Turn.ROLE_SYSTEM: "system",
    inference_pb2.Turn.ROLE_USER: "user",
    inference_pb2.Turn.ROLE_ASSISTANT: "assistant",
}

Prompted = inference_pb2.GenerateRequest | inference_pb2.TokenizeRequest
"""A message with a prompt and, maybe, a prompt format."""


class Prompts:
    """Applies the adapter's recorded prompt format, unless the request brings another. Any thread."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, limits: Limits) -> None:
        self._tokenizer = tokenizer
        self._limits = limits

    def encode(self, request: Prompted, adapter: Servable | None) -> tuple[int, ...]:
        """Token ids of the request's prompt. Raises InvalidInputError naming the field, and BaseMismatchError."""
        match request.WhichOneof("prompt"):
            case "text":
                _check_size("text", request.text, MAX_TEXT_BYTES)
                return tuple(self._format(request, adapter).encode_prompt(self._tokenizer, request.text))
            case "chat":
                turns = _turns(request.chat)
                return tuple(self._format(request, adapter).encode_turns(self._tokenizer, turns))
            case "token_ids":
                assert isinstance(request, inference_pb2.GenerateRequest)
                return self._token_ids(request)
            case _:
                accepted = ", ".join(field.name for field in request.DESCRIPTOR.oneofs_by_name["prompt"].fields)
                raise InvalidInputError(f"prompt: nothing given (accepted: {accepted})", field="prompt")

    def _token_ids(self, request: inference_pb2.GenerateRequest) -> tuple[int, ...]:
        if request.HasField("prompt_format"):
            raise InvalidInputError("prompt_format: not accepted beside token_ids", field="prompt_format")
        ids = request.token_ids.ids
        if len(ids) > self._limits.max_length:
            raise InvalidInputError(f"token_ids: {len(ids)} are over {self._limits.bound}", field="token_ids")
        return tuple(ids)

    def _format(self, request: Prompted, adapter: Servable | None) -> PromptFormat:
        if request.HasField("prompt_format"):
            return self._requested(request.prompt_format)
        if adapter is None or (recorded := adapter.prompt_format) is None:
            return PromptFormat.of(self._tokenizer, "chat" if self._tokenizer.chat_template else "raw")
        try:
            recorded.check(self._tokenizer)
        except ConfigError as error:
            raise BaseMismatchError(f"adapter {adapter.digest}: {error}; a request may bring its own") from None
        return recorded

    def _requested(self, message: inference_pb2.PromptFormat) -> PromptFormat:
        kind = KINDS.get(message.kind)
        if kind is None:
            raise InvalidInputError(
                f"prompt_format.kind: {message.kind} (accepted: KIND_RAW, KIND_CHAT)", field="prompt_format.kind"
            )
        system_prompt = message.system_prompt if message.HasField("system_prompt") else None
        if system_prompt is not None:
            _check_size("prompt_format.system_prompt", system_prompt, MAX_SYSTEM_PROMPT_BYTES)
            if kind == "raw":
                raise InvalidInputError(
                    "prompt_format.system_prompt: needs KIND_CHAT", field="prompt_format.system_prompt"
                )
        return PromptFormat.of(self._tokenizer, kind, system_prompt)


def _turns(chat: inference_pb2.Chat) -> list[Turn]:
    """Raises InvalidInputError naming the first turn that is not accepted."""
    if not 0 < len(chat.turns) <= MAX_TURNS:
        raise InvalidInputError(f"chat.turns: {len(chat.turns)} (accepted: 1 to {MAX_TURNS})", field="chat.turns")
    _check_size("chat", "".join(turn.content for turn in chat.turns), MAX_TEXT_BYTES)
    turns: list[Turn] = []
    for number, turn in enumerate(chat.turns):
        accepted = [name for name, role in ROLES.items() if role != "system" or not number]
        if turn.role not in accepted:
            names = ", ".join(map(inference_pb2.Turn.Role.Name, accepted))
            field = f"chat.turns.{number}.role"
            raise InvalidInputError(f"{field}: {turn.role} (accepted here: {names})", field=field)
        turns.append({"role": ROLES[turn.role], "content": turn.content})
    if turns[-1]["role"] != "user":
        field = f"chat.turns.{len(turns) - 1}.role"
        raise InvalidInputError(f"{field}: the last turn is the user's (accepted: ROLE_USER)", field=field)
    return turns


def _check_size(field: str, text: str, limit: int) -> None:
    if (size := len(text.encode())) > limit:
        raise InvalidInputError(f"{field}: {size} bytes in UTF-8; at most {limit}", field=field)
