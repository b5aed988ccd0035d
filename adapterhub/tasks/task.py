"""A task the project ships: examples to learn from, held-out ones, and how an answer is scored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Task:
    """The files are JSONL of {"prompt", "completion"}; no prompt stands in both."""

    name: str
    score: Callable[[str, str], bool]
    """`score(completion, expected)`: whether a model's completion is right."""

    @property
    def train(self) -> Path:
        return FOLDER / f"{self.name}_train.jsonl"

    @property
    def test(self) -> Path:
        return FOLDER / f"{self.name}_test.jsonl"
