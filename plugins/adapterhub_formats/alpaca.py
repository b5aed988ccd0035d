"""Instructions with or without an input, as Stanford's Alpaca has them.

The prompt is the instruction and, in a new line, the input, as in LLaMA-Factory's data/README.md: the
base's chat template says what is a question. Alpaca's own frame of sentences ("Below is an
instruction ...") is for bases without a template and would be part of every prompt when served.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapterhub.data_format import DataFormat
from adapterhub.records import Chat, Pair
from adapterhub_formats.fields import from_json, optional_text, text


class Alpaca(DataFormat):
    """`{"instruction": text, "input": text, "output": text}`; with `system` or `history` it is a conversation."""

    name = "alpaca"
    shape = '{"instruction": text, "input": text or absent, "output": text}'
    keys = ("instruction", "input", "output", "system", "history")

    def recognizes(self, values: Mapping[str, Any]) -> bool:
        return "instruction" in values

    def read(self, values: Mapping[str, Any], line: int) -> Pair | Chat:
        instruction, output = text(values, "instruction"), text(values, "output")
        given = optional_text(values, "input")
        prompt = f"{instruction}\n{given}" if given else instruction
        system, history = optional_text(values, "system"), _history(values.get("history"))
        if not system and not history:
            return Pair(prompt, output, line)
        turns = [{"role": "system", "content": system}] if system else []
        for asked, answered in (*history, (prompt, output)):
            turns += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
        return Chat(tuple(turns), (), line)


def _history(value: Any) -> list[tuple[str, str]]:
    """Earlier instructions with their answers."""
    if isinstance(value, str):
        value = from_json(value, "history") if value.strip() else None
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError("'history' is not a list of [instruction, answer]")
    for each in value:
        of_two = isinstance(each, list) and len(each) == 2
        if not of_two or not all(isinstance(said, str) and said.strip() for said in each):
            raise ValueError("'history' is not a list of [instruction, answer]")
    return [(asked, answered) for asked, answered in value]
