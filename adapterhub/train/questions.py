"""Held-out prompts that the base and the adapter answer."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from adapterhub.encoder import Encoder
from adapterhub.errors import InvalidInputError
from adapterhub.records import Chat, Pair, Record

LONGEST = 32
"""Tokens of an answer, beyond which it is cut."""


class Question(NamedTuple):
    """A prompt as the model gets it."""

    prompt: str
    expected: str
    ids: list[int]


def questions(records: Sequence[Record], encoder: Encoder, count: int, seed: int) -> list[Question]:
    """`count` of the records that are questions with an answer in plain text, drawn by the seed; those that fit."""
    shuffled = random.Random(seed).sample(records, len(records))  # noqa: S311  not a secret
    found: list[Question] = []
    for question in _asked(shuffled, encoder):
        if len(found) == count:
            break
        if len(question.ids) + LONGEST <= (encoder.room or encoder.max_length + LONGEST):
            found.append(question)
    return found


def _asked(records: Sequence[Record], encoder: Encoder) -> Iterator[Question]:
    for record in records:
        if isinstance(record, Pair):
            ids = encoder.prompt_format.encode_prompt(encoder.tokenizer, record.prompt)
            yield Question(record.prompt, record.completion, ids)
        elif isinstance(record, Chat) and not record.tools and all(map(_is_plain, record.turns)):
            *asked, answer = record.turns
            turns: Any = asked
            try:
                ids = encoder.prompt_format.encode_turns(encoder.tokenizer, turns)
            except InvalidInputError:  # raw text has no turns
                continue
            yield Question("\n".join(f"{turn['role']}: {turn['content']}" for turn in asked), answer["content"], ids)


def _is_plain(turn: Mapping[str, Any]) -> bool:
    return turn.keys() == {"role", "content"} and isinstance(turn["content"], str)
