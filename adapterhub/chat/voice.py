"""Who answers in a chat: adapters of a running server, or of an engine of this process."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import NamedTuple, Protocol

from adapterhub.asking import Question


class Piece(NamedTuple):
    """Some more of an answer."""

    text: str
    adapter: str
    """Who answers, in the first piece; empty for the bare base, and in later pieces."""


class Voice(Protocol):
    """All of it on one event loop."""

    async def names(self) -> list[str]:
        """Adapters that can be asked for."""

    async def load(self, ref: str) -> None:
        """Make an adapter ready. Raises why it cannot answer."""

    def answer(self, question: Question) -> AsyncGenerator[Piece]:
        """An answer as it comes; closing the iterator ends it. Raises any error of the tree."""
