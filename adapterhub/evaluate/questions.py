"""Held-out examples as questions: what is asked, and what is expected."""

from __future__ import annotations

import random
from collections.abc import Sequence

from adapterhub.data import Dataset, prompt_of
from adapterhub.errors import DataError, InvalidInputError
from adapterhub.prompt_format import Turn
from adapterhub.records import KINDS, Chat, Pair

Question = Pair | Chat
"""A record with one right answer; a conversation asks for its last turn."""


def questions(dataset: Dataset) -> tuple[Question, ...]:
    """The records of a file. Raises DataError naming the first that has no answer to be held against."""
    found = []
    for record in dataset.records:
        if not isinstance(record, Pair | Chat):
            accepted = f"{KINDS[Pair]}, {KINDS[Chat]}"
            raise DataError(dataset.source, record.line, f"{KINDS[type(record)]} are not evaluated ({accepted} are)")
        if isinstance(record, Chat):
            _check_chat(record, dataset.source)
        found.append(record)
    return tuple(found)


def expected_of(question: Question) -> str:
    """The answer that is right."""
    return question.completion if isinstance(question, Pair) else str(question.turns[-1]["content"])


def asked_of(question: Question) -> list[Turn]:
    """The turns up to where the answer begins."""
    if isinstance(question, Pair):
        return [{"role": "user", "content": question.prompt}]
    return [{"role": turn["role"], "content": turn["content"]} for turn in question.turns[:-1]]


def sampled(asked: Sequence[Question], limit: int | None, seed: int) -> tuple[Question, ...]:
    """At most `limit` of them, drawn by the seed, in the file's order."""
    if limit is None or limit >= len(asked):
        return tuple(asked)
    chosen = random.Random(seed).sample(range(len(asked)), limit)  # noqa: S311  not a secret
    return tuple(asked[index] for index in sorted(chosen))


def drawn_shots(examples: Dataset, asked: Sequence[Question], count: int, seed: int) -> tuple[Question, ...]:
    """`count` examples to stand in prompts, the same for every question; fewer of them are the first of more.

    None of them asks what is asked: its answer would stand in the prompt. Raises InvalidInputError
    when there are too few.
    """
    held_out = {prompt_of(question) for question in asked}
    pool = [example for example in questions(examples) if prompt_of(example) not in held_out]
    if count > len(pool):
        raise InvalidInputError(
            f"shots: {count} asked for, {examples.source} has {len(pool)} examples that are not held out",
            field="shots",
        )
    random.Random(seed).shuffle(pool)  # noqa: S311  not a secret
    return tuple(pool[:count])


def _check_chat(chat: Chat, source: str) -> None:
    if chat.tools:
        raise DataError(source, chat.line, "a conversation with tools, which is not evaluated")
    if len(chat.turns) < 2:
        raise DataError(source, chat.line, "a conversation that asks nothing: its only turn is the answer")
    for turn in chat.turns:
        if turn["role"] not in ("system", "user", "assistant") or not isinstance(turn.get("content"), str):
            raise DataError(
                source, chat.line, f"a {turn['role']} turn that is not plain text of system, user or assistant"
            )
