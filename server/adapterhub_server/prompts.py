"""From the prompt in a request to the token ids the model reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from adapterhub.engine import Limits, Servable
from adapterhub.errors import BaseMismatchError, ConfigError, InvalidInputError
from adapterhub.pb.v1 import inference_pb2
from adapterhub.prompt_format import FormatKind, PromptFormat, Turn, encode_rendered
from adapterhub.tool_calls import ToolUse
from adapterhub_server.calling import Calling
from adapterhub_server.chats import Chat
from adapterhub_server.sizes import MAX_SYSTEM_PROMPT_BYTES, MAX_TEXT_BYTES, check_size
from adapterhub_server.time_limit import time_limit

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_RENDERED_BYTES = 8 << 20
"""Of what a chat template makes of a request: with its turns and its tools, each over and over, still less."""
RENDER_SECONDS = 20.0
"""For one rendering, which takes milliseconds, on a machine that is busy with other things."""

KINDS: dict[inference_pb2.PromptFormat.Kind, FormatKind] = {
    inference_pb2.PromptFormat.KIND_RAW: "raw",
    inference_pb2.PromptFormat.KIND_CHAT: "chat",
}

Prompted = inference_pb2.GenerateRequest | inference_pb2.TokenizeRequest
"""A message with a prompt and, maybe, a prompt format."""


class Encoded(NamedTuple):
    """A prompt as the model reads it, and what its chat asks of the answer."""

    token_ids: tuple[int, ...]
    calling: Calling | None = None
    """How calls of tools are read; None where there are none, or the base's form of calls is not known."""
    must_be: str = ""
    """A grammar in Lark's notation, where a tool has to be called."""


class Prompts:
    """Applies the adapter's recorded prompt format, unless the request brings another. Any thread."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, *, limits: Limits, render_seconds: float = RENDER_SECONDS
    ) -> None:
        self._tokenizer = tokenizer
        self._limits = limits
        self._render_seconds = render_seconds
        self._found: ToolUse | None = None

    def encode(self, request: Prompted, adapter: Servable | None, system_prompt: str | None = None) -> Encoded:
        """The request's prompt; `system_prompt` is its route's, for a chat that brings none.

        Raises InvalidInputError naming the field, and BaseMismatchError.
        """
        match request.WhichOneof("prompt"):
            case "text":
                check_size("text", request.text, MAX_TEXT_BYTES)
                prompt_format = self._format(request, adapter, system_prompt)
                if prompt_format.kind == "raw":
                    return Encoded(tuple(prompt_format.encode_prompt(self._tokenizer, request.text)))
                return Encoded(self._rendered(prompt_format, [{"role": "user", "content": request.text}]))
            case "chat":
                return self._chat(request, self._format(request, adapter, system_prompt))
            case "token_ids":
                assert isinstance(request, inference_pb2.GenerateRequest)
                return Encoded(self._token_ids(request))
            case _:
                accepted = ", ".join(field.name for field in request.DESCRIPTOR.oneofs_by_name["prompt"].fields)
                raise InvalidInputError(f"prompt: nothing given (accepted: {accepted})", field="prompt")

    def _chat(self, request: Prompted, prompt_format: PromptFormat) -> Encoded:
        chat = Chat.of(request.chat)
        if not (chat.tools or any("tool_calls" in turn for turn in chat.turns)):
            return Encoded(self._rendered(prompt_format, chat.turns))
        use = self._tool_use()
        if chat.tools and not use.shows_tools:
            raise InvalidInputError("chat.tools: the base's chat template does not know tools", field="chat.tools")
        if use.form is not None and use.form.short_ids:
            chat = chat.with_short_ids()
        tools = [tool.definition() for tool in chat.tools.values()]
        token_ids = self._rendered(prompt_format, chat.turns, tools)
        calling = Calling(use.form, chat.tools, use.silent) if use.form is not None and chat.tools else None
        return Encoded(token_ids, calling, use.lark(chat.must_call) if chat.must_call else "")

    def _rendered(
        self, prompt_format: PromptFormat, turns: list[Turn], tools: Sequence[Mapping[str, Any]] = ()
    ) -> tuple[int, ...]:
        """Token ids of what the base's chat template writes, in bounded time and of bounded length."""
        with time_limit(self._render_seconds, self._endless()):
            text = prompt_format.render(self._tokenizer, turns, tools)
        if (size := len(text.encode())) > MAX_RENDERED_BYTES:
            raise InvalidInputError(
                f"prompt format: the base's chat template makes {size} bytes of it; at most {MAX_RENDERED_BYTES}",
                field="prompt",
            )
        return tuple(encode_rendered(self._tokenizer, text))

    def _tool_use(self) -> ToolUse:
        """Found when it is first asked for. Two that ask at once find the same."""
        if self._found is None:
            with time_limit(self._render_seconds, self._endless()):
                self._found = ToolUse.of(self._tokenizer)
        return self._found

    def _endless(self) -> InvalidInputError:
        return InvalidInputError(
            f"prompt format: the base's chat template takes over {self._render_seconds:g} seconds", field="prompt"
        )

    def _token_ids(self, request: inference_pb2.GenerateRequest) -> tuple[int, ...]:
        if request.HasField("prompt_format"):
            raise InvalidInputError("prompt_format: not accepted beside token_ids", field="prompt_format")
        ids = request.token_ids.ids
        if len(ids) > self._limits.max_length:
            raise InvalidInputError(f"token_ids: {len(ids)} are over {self._limits.bound}", field="token_ids")
        return tuple(ids)

    def _format(self, request: Prompted, adapter: Servable | None, system_prompt: str | None) -> PromptFormat:
        """The format that applies, with the system prompt that does: the request's, the route's or the format's own."""
        prompt_format = self._requested_or_recorded(request, adapter)
        brings_none = not request.prompt_format.HasField("system_prompt")
        if system_prompt is not None and prompt_format.kind == "chat" and brings_none:
            return prompt_format.model_copy(update={"system_prompt": system_prompt})
        return prompt_format

    def _requested_or_recorded(self, request: Prompted, adapter: Servable | None) -> PromptFormat:
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
            check_size("prompt_format.system_prompt", system_prompt, MAX_SYSTEM_PROMPT_BYTES)
            if kind == "raw":
                raise InvalidInputError(
                    "prompt_format.system_prompt: needs KIND_CHAT", field="prompt_format.system_prompt"
                )
        return PromptFormat.of(self._tokenizer, kind, system_prompt)
