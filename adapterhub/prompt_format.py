"""How a prompt becomes token ids: one function for training and for serving.

The format is part of the adapter. It is recorded when the adapter is trained and applied by
default wherever the adapter is served, so that the ids of a prompt are the same in both places.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypedDict

from pydantic import model_validator

from adapterhub.config import Config
from adapterhub.errors import ConfigError, InvalidInputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FormatKind = Literal["raw", "chat"]

RAISED = (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError)
"""What a chat template, which is a program, may raise beside jinja's own errors."""


class Turn(TypedDict):
    """What one side of a chat said."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: NotRequired[list[dict[str, Any]]]
    """Of an assistant's turn, as chat templates read them: `id`, `type`, `function` with `name` and `arguments`."""
    tool_call_id: NotRequired[str]
    """Of a tool's turn: the call that it answers."""
    name: NotRequired[str]
    """Of a tool's turn: the tool."""


class PromptFormat(Config):
    """The recorded format of an adapter's prompts."""

    kind: FormatKind = "raw"
    """`raw`: the text as it is; `chat`: one user turn in the base's own chat template."""
    system_prompt: str | None = None
    """The system turn of a chat; the template's own default when absent."""
    template_sha256: str = ""
    """Hash of the chat template it was made with; a base with another template is refused."""
    closes_with: str = ""
    """The token that ends a response, in the loss when training and a stop when serving."""

    @model_validator(mode="after")
    def _system_needs_chat(self) -> PromptFormat:
        if self.kind == "raw" and self.system_prompt is not None:
            raise ValueError("system_prompt needs the chat format")
        return self

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, kind: FormatKind, system_prompt: str | None = None) -> PromptFormat:
        """The format of `kind` on this tokenizer, with its template's hash and closing token filled in."""
        template = _template_sha256(tokenizer) if kind == "chat" else ""
        closing = str(tokenizer.eos_token or "")
        values = {"kind": kind, "system_prompt": system_prompt, "template_sha256": template, "closes_with": closing}
        return cls.load(values, where="prompt format")

    def check(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Raises ConfigError when this format was recorded with another chat template or closing token."""
        if self.kind == "chat" and (found := _template_sha256(tokenizer)) != self.template_sha256:
            raise ConfigError(
                f"prompt format: made with chat template {self.template_sha256[:12]}, the base has {found[:12]}",
                field="template_sha256",
            )
        if self.closes_with != (found := str(tokenizer.eos_token or "")):
            raise ConfigError(
                f"prompt format: responses close with {self.closes_with!r}, the base's end of sequence is {found!r}",
                field="closes_with",
            )

    def encode_prompt(self, tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
        """Token ids of a prompt, up to where the response begins.

        Raises InvalidInputError when the base's template does not take these turns.
        """
        if self.kind == "raw":
            return list(tokenizer(prompt)["input_ids"])
        return self.encode_turns(tokenizer, [{"role": "user", "content": prompt}])

    def encode_turns(
        self,
        tokenizer: PreTrainedTokenizerBase,
        turns: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> list[int]:
        """Token ids of a chat so far, up to where the next response begins; a system turn of its own stands.

        Raises InvalidInputError when this is no chat, or the base's template does not take these turns.
        """
        return encode_rendered(tokenizer, self.render(tokenizer, turns, tools))

    def render(
        self,
        tokenizer: PreTrainedTokenizerBase,
        turns: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] = (),
        *,
        opens: bool = True,
    ) -> str:
        """A chat so far as the base's template writes it; with `opens`, up to where the next response begins.

        Raises as `encode_turns`.
        """
        if self.kind == "raw":
            raise InvalidInputError("chat: the prompt format is raw text, which has no turns", field="chat")
        said = [dict(turn) for turn in turns]
        if self.system_prompt is not None and said[0]["role"] != "system":
            said.insert(0, {"role": "system", "content": self.system_prompt})
        from jinja2 import TemplateError  # here, so that listings need not wait for it

        known: Any = [dict(tool) for tool in tools] or None
        try:
            text = tokenizer.apply_chat_template(said, tools=known, tokenize=False, add_generation_prompt=opens)
        except (TemplateError, *RAISED) as error:  # some refuse a system turn, or a turn without text
            raise InvalidInputError(f"prompt format: the base's chat template says: {error}", field="prompt") from None
        return str(text)

    def encode_response(self, tokenizer: PreTrainedTokenizerBase, response: str) -> list[int]:
        """Token ids of a response with its closing token, as trained on."""
        ids = list(tokenizer(response, add_special_tokens=False)["input_ids"])
        return [*ids, tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else ids


def encode_rendered(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of what a chat template wrote, which has its special tokens already."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _template_sha256(tokenizer: PreTrainedTokenizerBase) -> str:
    if not tokenizer.chat_template:
        raise ConfigError("prompt format: the base has no chat template; accepted: raw", field="kind")
    return hashlib.sha256(str(tokenizer.chat_template).encode()).hexdigest()
