"""Records as token ids, with what of them is learned. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from adapterhub.chat_rows import ChatRows, TurnRow
from adapterhub.errors import DataError, InvalidInputError
from adapterhub.prompt_format import PromptFormat
from adapterhub.records import Chat, Message, Pair

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100
"""The label of a token that is not in the loss."""
Overlong = Literal["error", "truncate", "drop"]
"""What becomes of a row that is too long."""
Turns = Literal["all", "last"]
"""Which of the assistant's turns are learned."""


class Example(TypedDict):
    """One row of a batch; both lists are of the same length."""

    input_ids: list[int]
    labels: list[int]
    """The token's own id where it is to be learned, else IGNORED; a token is predicted from all before it."""


@dataclass
class Shortened:
    """How many rows of one side of the data were too long, so far."""

    truncated: int = 0
    dropped: int = 0
    """With those of which nothing would be learned."""


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
    virtual_tokens: int = 0
    """How many the adapter puts in front of every row."""
    overlong: Overlong = "error"
    shortened: Shortened = field(default_factory=Shortened, compare=False)

    @property
    def limit(self) -> int:
        """Most tokens that a row can have: `max_length`, or what the context has room for."""
        return self.max_length if self.room is None else min(self.max_length, self.room)

    def rows(self, record: Pair | Chat, turns: Turns = "all") -> list[Example]:
        """A pair's or a conversation's rows, as `pair` and `chat` give them, none too long. Raises DataError."""
        found = [self.pair(record)] if isinstance(record, Pair) else self.chat(record, turns)
        return self.fitted(found, record.line)

    def pair(self, pair: Pair) -> Example:
        """The prompt's ids as serving has them, and the response's, which are learned; of any length."""
        prompt = self.prompt_format.encode_prompt(self.tokenizer, pair.prompt)
        return self.example(prompt, self.prompt_format.encode_response(self.tokenizer, pair.completion))

    def chat(self, chat: Chat, turns: Turns = "all") -> list[Example]:
        """A conversation, of which the assistant's turns are learned, each with what closes it; of any length.

        One row, but where the template writes a turn otherwise once the conversation has gone on: then one
        for each learned turn. A single question in plain text is a pair, which needs no chat template.
        Raises DataError for what the prompt format or the base's template cannot write.
        """
        if self.prompt_format.kind == "raw":
            return [self.pair(self._question(chat))]
        rows = ChatRows(chat, self.prompt_format, self.tokenizer)
        try:
            if problem := rows.problem():
                raise self.error(chat.line, problem)
            places = rows.answers()
            if turns == "last" or len(places) == 1:
                return [_example(rows.of_turn(places[-1]))]
            whole = rows.of_all()
            return [_example(row) for row in ([whole] if whole else map(rows.of_turn, places))]
        except InvalidInputError as error:
            raise error if isinstance(error, DataError) else self.error(chat.line, str(error)) from None

    def example(self, prompt: list[int], response: list[int]) -> Example:
        """One row: `response` is learned, `prompt` is not."""
        return Example(input_ids=prompt + response, labels=[IGNORED] * len(prompt) + response)

    def fitted(self, rows: Iterable[Example], line: int) -> list[Example]:
        """The rows of a record, of `limit` tokens at most: what is longer is refused, cut at its end, or left out.

        No row is given of which nothing is learned. Raises DataError for a row that is too long, where
        it is to be refused, and for one with nothing to learn.
        """
        kept = []
        for row in rows:
            length = len(row["input_ids"])
            if length > self.limit and self.overlong == "error":
                self.check_length(length, line)
            cut = Example(input_ids=row["input_ids"][: self.limit], labels=row["labels"][: self.limit])
            learns = any(label != IGNORED for label in cut["labels"][1:])  # nothing stands in front of the first
            if length <= self.limit and not learns:
                raise self.error(line, "no token of it is in the loss")
            if length > self.limit and (self.overlong == "drop" or not learns):
                self.shortened.dropped += 1
                continue
            self.shortened.truncated += length > self.limit
            kept.append(cut)
        return kept

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

    def _question(self, chat: Chat) -> Pair:
        """A conversation of one question and its answer, in words alone. Raises DataError for any other."""
        said = [(turn["role"], turn.get("content")) for turn in chat.turns]
        match said:
            case [("user", str(prompt)), ("assistant", str(completion))] if not chat.tools:
                return Pair(prompt, completion, chat.line)
        raise self.error(
            chat.line,
            "a conversation of several turns, a system turn or tools needs a chat template; prompt_format is raw text",
        )


def _example(row: TurnRow) -> Example:
    labels = [token if learned else IGNORED for token, learned in zip(row.ids, row.learned, strict=True)]
    return Example(input_ids=row.ids, labels=labels)


Row = Mapping[str, Any]
"""What a trainer gets of one record: an `Example`, or what its collator takes."""
