"""Records that say the same as others, or the opposite."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from adapterhub.data.dataset import Dataset, normal, prompt_of
from adapterhub.data.finding import Finding, counted, some
from adapterhub.records import Chat, Feedback, Pair, Preference, Record, Text

CONFLICTS: Mapping[type[Record], tuple[str, str]] = {
    Pair: (
        "record has the prompt of an earlier one and another response",
        "records have the prompt of an earlier one and another response",
    ),
    Preference: ("record prefers what an earlier one rejects", "records prefer what an earlier one rejects"),
    Feedback: ("record rates an answer otherwise than before", "records rate an answer otherwise than before"),
}
"""Of one and of several, by the kind of record."""


class Saying(NamedTuple):
    """A record as what it is about and what it says of it: two of one `about` should say the same."""

    about: tuple[str, ...]
    said: str


def saying(record: Record) -> Saying:
    """Of preferences it is about two answers and says which is better; of rated ones, whether it is good."""
    prompt = prompt_of(record)
    if isinstance(record, Chat):
        tools = json.dumps([dict(tool) for tool in record.tools], sort_keys=True, default=str)
        return Saying((prompt, tools), last_words(record))
    if isinstance(record, Preference):
        return Saying((prompt, *sorted((record.chosen, record.rejected))), record.chosen)
    if isinstance(record, Feedback):
        return Saying((prompt, record.completion), str(record.good))
    return Saying((prompt,), record.completion if isinstance(record, Pair) else "")


def last_words(chat: Chat) -> str:
    """What the last turn says and calls."""
    turn = chat.turns[-1]
    calls = json.dumps(turn["tool_calls"], sort_keys=True, default=str) if "tool_calls" in turn else ""
    return f"{turn.get('content') or ''}{calls}"


def repeats(dataset: Dataset) -> Iterator[Finding]:
    """Warnings of records that are there twice, and of those that contradict each other."""
    first: dict[Saying, int] = {}
    by_prompt: dict[tuple[str, ...], tuple[int, str]] = {}
    again: list[tuple[int, int]] = []
    against: list[tuple[int, int]] = []
    for record in dataset.records:
        said = saying(record)
        if said in first:
            again.append((record.line, first[said]))
            continue
        first[said] = record.line
        line, other = by_prompt.setdefault(said.about, (record.line, said.said))
        if other != said.said:
            against.append((record.line, line))
    if again:
        problem = counted(len(again), "record repeats an earlier one", "records repeat earlier ones")
        yield _warning("duplicate", dataset, problem, again)
    if against:
        says = CONFLICTS.get(type(dataset.records[0]), CONFLICTS[Pair])
        yield _warning("conflict", dataset, counted(len(against), *says), against)


def leaks(train: Dataset, validation: Dataset) -> Iterator[Finding]:
    """A warning of held-out records whose prompt is also trained on, but perhaps for case and spacing."""
    exact: dict[str, int] = {}
    alike: dict[str, int] = {}
    for record in train.records:
        exact.setdefault(prompt_of(record), record.line)
        alike.setdefault(normal(prompt_of(record)), record.line)
    same: list[tuple[int, int]] = []
    nearly: list[tuple[int, int]] = []
    for record in validation.records:
        prompt = prompt_of(record)
        if prompt in exact:
            same.append((record.line, exact[prompt]))
        elif normal(prompt) in alike:
            nearly.append((record.line, alike[normal(prompt)]))
    what = "texts" if validation.records and isinstance(validation.records[0], Text) else "prompts"
    total = len(validation.records)
    if same:
        problem = f"{len(same)} of {total} {what} are also in {train.source}, so the validation loss tells too little"
        yield _warning("leakage", validation, problem, same)
    if nearly:
        problem = f"{len(nearly)} of {total} {what} differ from one in {train.source} by case and spacing only"
        yield _warning("near_leakage", validation, problem, nearly)


def _warning(kind: str, dataset: Dataset, problem: str, places: list[tuple[int, int]]) -> Finding:
    """`places` are lines, each with the one it is like."""
    shown = some([f"{line} (as {other})" for line, other in places])
    lines = [line for line, _ in places]
    return Finding.warning(kind, dataset.source, f"{problem}: {'line' if len(lines) == 1 else 'lines'} {shown}", lines)
