"""The length of a record: in the tokens that training has of it, or in characters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adapterhub.data.answers import answers_of
from adapterhub.errors import InvalidInputError
from adapterhub.prompt_format import PromptFormat
from adapterhub.records import Chat, Message, Pair, Record, Text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Measure = Callable[[Record], int]
"""Raises InvalidInputError for a record that cannot be trained on so."""


def characters(record: Record) -> int:
    """Of all that is said: of a preference, with the longer answer."""
    if isinstance(record, Text):
        return len(record.text)
    if isinstance(record, Chat):
        return _of_turns(record.turns)
    prompt = len(record.prompt) if isinstance(record.prompt, str) else _of_turns(record.prompt)
    return prompt + max(map(len, answers_of(record)))


@dataclass(frozen=True)
class Tokens:
    """Tokens of records in the ids of one base."""

    tokenizer: PreTrainedTokenizerBase
    prompt_format: PromptFormat

    def __call__(self, record: Record) -> int:
        if isinstance(record, Text):
            return len(self.prompt_format.encode_response(self.tokenizer, record.text))
        if isinstance(record, Chat):
            return self._chat(record)
        encode = self.prompt_format.encode_response
        answer = max(len(encode(self.tokenizer, answer)) for answer in answers_of(record))
        if isinstance(record, Pair) or isinstance(record.prompt, str):
            return len(self.prompt_format.encode_prompt(self.tokenizer, str(record.prompt))) + answer
        turns: Any = list(record.prompt)
        return len(self.prompt_format.encode_turns(self.tokenizer, turns)) + answer

    def _chat(self, chat: Chat) -> int:
        from jinja2 import TemplateError

        if self.prompt_format.kind == "raw":
            return self(_question(chat))
        turns, system = [dict(turn) for turn in chat.turns], self.prompt_format.system_prompt
        if system is not None and turns[0]["role"] != "system":
            turns.insert(0, {"role": "system", "content": system})
        tools: Any = [dict(tool) for tool in chat.tools] or None
        try:
            text = str(self.tokenizer.apply_chat_template(turns, tools=tools, tokenize=False))
        except (TemplateError, TypeError, ValueError, KeyError) as error:
            raise InvalidInputError(f"the base's chat template says: {error}") from None
        return len(self.tokenizer(text, add_special_tokens=False)["input_ids"])


def _question(chat: Chat) -> Pair:
    """A conversation of one question and its answer, in words alone. Raises InvalidInputError for any other."""
    match [(turn["role"], turn.get("content")) for turn in chat.turns]:
        case [("user", str(prompt)), ("assistant", str(completion))] if not chat.tools and completion:
            return Pair(prompt, completion, chat.line)
    raise InvalidInputError(
        "a conversation of several turns, a system turn or tools needs a chat template; prompt_format is raw text"
    )


def _of_turns(turns: tuple[Message, ...]) -> int:
    return sum(len(str(turn.get("content") or "")) for turn in turns)
