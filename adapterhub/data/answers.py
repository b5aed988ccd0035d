"""Responses that are no use to learn from."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from adapterhub.data.dataset import Dataset
from adapterhub.data.finding import Finding, counted, some
from adapterhub.records import Chat, Feedback, Pair, Preference, Record

SHORT = 3
"""Characters; fewer are very short."""
USUAL = 20
"""Characters of the median response from which on very short ones stand out: labels are short, and all of them."""


def answers(dataset: Dataset) -> Iterator[Finding]:
    """Warnings of very short responses among longer ones, and of preferences between equals."""
    said = [(record.line, len(answer.strip())) for record in dataset.records for answer in answers_of(record)]
    short = sorted({line for line, length in said if length < SHORT})
    if short and median(length for _, length in said) >= USUAL:
        problem = counted(len(short), "response is", "responses are")
        yield Finding.warning(
            "short_response",
            dataset.source,
            f"{problem} shorter than {SHORT} characters, where most have {USUAL} or more: {_lines(short)}",
            short,
        )
    if same := [each.line for each in dataset.records if isinstance(each, Preference) and each.chosen == each.rejected]:
        problem = counted(len(same), "record prefers", "records prefer")
        yield Finding.warning(
            "no_preference", dataset.source, f"{problem} an answer to the same answer: {_lines(same)}", same
        )


def answers_of(record: Record) -> tuple[str, ...]:
    """What is to be answered, as text; of a conversation, what the assistant says in the turns without calls."""
    if isinstance(record, Pair | Feedback):
        return (record.completion,)
    if isinstance(record, Preference):
        return record.chosen, record.rejected
    if isinstance(record, Chat):
        said = (turn for turn in record.turns if turn["role"] == "assistant" and "tool_calls" not in turn)
        return tuple(str(turn["content"]) for turn in said)
    return ()


def _lines(lines: list[int]) -> str:
    return f"{'line' if len(lines) == 1 else 'lines'} {some([str(line) for line in lines])}"
