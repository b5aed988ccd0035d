"""Records as token ids, with what of them is learned. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

from adapterhub.errors import DataError, InvalidInputError
from adapterhub.prompt_format import PromptFormat
from adapterhub.records import Message, Pair

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100
"""The label of a token that is not in the loss."""


class Example(TypedDict):
    """One row of a batch; both lists are of the same length."""

    input_ids: list[int]
    labels: list[int]
    """The token's own id where it is to be learned, else IGNORED; a token is predicted from all before it."""


@dataclass(frozen=True)
class Encoder:
    """Encodes the records of one file for one run."""

    tokenizer: PreTrainedTokenizerBase
    prompt_format: PromptFormat
    source: str
    """The file, for errors."""
    max_length: int
    """Most tokens of a row."""
    room: int | None = None
    """The positions of the base that virtual tokens leave, when it has an end."""

    def pair(self, pair: Pair) -> Example:
        """The prompt's ids as serving has them, and the response's, which are learned. Raises as `example`."""
        prompt = self.prompt_format.encode_prompt(self.tokenizer, pair.prompt)
        return self.example(prompt, self.prompt_format.encode_response(self.tokenizer, pair.completion), pair.line)

    def example(self, prompt: list[int], response: list[int], line: int) -> Example:
        """One row: `response` is learned, `prompt` is not. Raises DataError when they are too long."""
        self.check_length(len(prompt) + len(response), line)
        return Example(input_ids=prompt + response, labels=[IGNORED] * len(prompt) + response)

    def prompt(self, prompt: str | Sequence[Message], line: int) -> list[int]:
        """The ids of a prompt, or of the turns so far, as serving has them. Raises DataError for what is no prompt."""
        turns: Any = prompt
        try:
            if isinstance(turns, str):
                return self.prompt_format.encode_prompt(self.tokenizer, turns)
            return self.prompt_format.encode_turns(self.tokenizer, list(turns))
        except InvalidInputError as error:
            raise self.error(line, str(error)) from None

    def response(self, response: str, line: int) -> list[int]:
        """The ids of a response with its closing token. Raises DataError for none."""
        ids = self.prompt_format.encode_response(self.tokenizer, response)
        if not ids:
            raise self.error(line, "a response without tokens")
        return ids

    def check_length(self, tokens: int, line: int) -> None:
        """Raises DataError for a row of more tokens than `max_length`, or than the context has room for."""
        if tokens > self.max_length:
            raise self.error(line, f"{tokens} tokens, over max_length {self.max_length}")
        if self.room is not None and tokens > self.room:
            raise self.error(line, f"{tokens} tokens, over the {self.room} positions left in the context")

    def error(self, line: int, problem: str) -> DataError:
        """What is wrong with a record, to be raised."""
        return DataError(self.source, line, problem)


Row = Mapping[str, Any]
"""What a trainer gets of one record: an `Example`, or what its collator takes."""
