"""A line of the input, understood: what it asks, and how its results are written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from adapterhub.asking import Question
from adapterhub.batch.answer import Answer
from adapterhub.errors import AdapterHubError

TokenText = Callable[[int], str]
"""What a token is called in results."""


class Entry(Protocol):
    """A line of one of the formats."""

    @property
    def number(self) -> int:
        """Of the line, from 1."""

    @property
    def key(self) -> str:
        """What no other line of the file may have; empty where lines need none."""

    @property
    def question(self) -> Question:
        """With the adapter as the line names it."""

    def answered(self, answer: Answer, token_text: TokenText) -> dict[str, Any]:
        """The result."""

    def failed(self, error: AdapterHubError) -> dict[str, Any]:
        """The result where there is no answer."""
