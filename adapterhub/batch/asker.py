"""Whom a batch asks: an engine of its own, or a running server."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple, Protocol

from adapterhub.asking import Question
from adapterhub.batch.answer import Answer

AHEAD = 32
"""Requests asked and not yet written, for each that runs: a long one holds back the results behind it."""


class Promise(NamedTuple):
    """An answer that is on its way."""

    ended: Future[Any]
    """Done when the answer is there, or will not be."""
    read: Callable[[], Answer]
    """Waits for it. Raises why there is none."""


class Asker(Protocol):
    """Takes questions and promises answers. Used by one thread.

    UnavailableError and AuthError mean that nobody answers any more; other errors are the question's own.
    """

    @property
    def window(self) -> int:
        """Requests to ask ahead of the one whose result is written next."""

    @property
    def base(self) -> str:
        """Id of the base."""

    @property
    def runtime_digest(self) -> str:
        """Of the base as it is held."""

    def is_base(self, name: str) -> bool:
        """Whether the bare base is called so."""

    def load(self, ref: str) -> str:
        """Make an adapter ready; its pinned reference. Raises the error that says why it cannot answer."""

    def names_still(self, ref: str, pinned: str) -> bool:
        """Whether a reference names what it did when it was pinned, as far as that is known here."""

    def check(self, question: Question) -> None:
        """Raises InvalidInputError for what would be refused, as far as that is known without asking."""

    def ask(self, question: Question) -> Promise:
        """Begin; the adapter is a pinned reference or empty. Reading may raise any error of the tree."""

    def token_text(self, token_id: int) -> str:
        """What results call a token."""
