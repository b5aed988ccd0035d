"""From the prompt in a request to the token ids the model reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapterhub.adapter import Adapter
from adapterhub.engine import Limits
from adapterhub.errors import BaseMismatchError, ConfigError, InvalidInputError
from adapterhub.pb.v1 import inference_pb2
from adapterhub.prompt_format import FormatKind, PromptFormat

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_TEXT_BYTES = 1 << 20
MAX_SYSTEM_PROMPT_BYTES = 1 << 16

KINDS: dict[inference_pb2.PromptFormat.Kind, FormatKind] = {
    inference_pb2.PromptFormat.KIND_RAW: "raw",
    inference_pb2.PromptFormat.KIND_CHAT: "chat",
}


class Prompts:
    """Applies the adapter's recorded prompt format, unless the request brings another. Any thread."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, limits: Limits) -> None:
        self._tokenizer = tokenizer
        self._limits = limits

    def encode(self, request: inference_pb2.GenerateRequest, adapter: Adapter | None) -> tuple[int, ...]:
        """Token ids of the request's prompt. Raises InvalidInputError naming the field, and BaseMismatchError."""
        match request.WhichOneof("prompt"):
            case "text":
                _check_size("text", request.text, MAX_TEXT_BYTES)
                return tuple(self._format(request, adapter).encode_prompt(self._tokenizer, request.text))
            case "token_ids":
                return self._token_ids(request)
            case _:
                raise InvalidInputError("prompt: nothing given (accepted: text, token_ids)", field="prompt")

    def _token_ids(self, request: inference_pb2.GenerateRequest) -> tuple[int, ...]:
        if request.HasField("prompt_format"):
            raise InvalidInputError("prompt_format: not accepted beside token_ids", field="prompt_format")
        ids = request.token_ids.ids
        if len(ids) > self._limits.max_length:
            raise InvalidInputError(f"token_ids: {len(ids)} are over {self._limits.bound}", field="token_ids")
        return tuple(ids)

    def _format(self, request: inference_pb2.GenerateRequest, adapter: Adapter | None) -> PromptFormat:
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


def _check_size(field: str, text: str, limit: int) -> None:
    if (size := len(text.encode())) > limit:
        raise InvalidInputError(f"{field}: {size} bytes in UTF-8; at most {limit}", field=field)
