"""Ending a generation where its text comes to a string, or its tokens to one that ends it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from adapterhub.engine.detokenizer import Detokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class StopStrings:
    """The text of one generation up to the first of its stop strings or stop tokens, wherever tokens begin and end.

    Text that may be the beginning of a stop string is held back until it is decided. A string that is complete
    within the first `min_tokens` tokens is text like any other.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        stop: Sequence[str],
        stop_token_ids: Sequence[int] = (),
        min_tokens: int = 0,
        *,
        silent: frozenset[int] | None = None,
    ) -> None:
        self._detokenizer = Detokenizer(tokenizer, silent)
        self._stop = tuple(stop)
        self._stop_token_ids = frozenset(stop_token_ids)
        self._early = min_tokens
        """Tokens yet to come before a string may end the text."""
        self._held = ""
        self.met = False
        """Whether the text has come to one; nothing is given from then on but what was held."""

    def push(self, token: int) -> str:
        """The text that is new with a token and certainly before any stop string."""
        if token in self._stop_token_ids:
            text = self.flush()
            self.met = True
            return text
        text = self._held + self._detokenizer.push([token])
        if self._early:
            self._early -= 1
        else:
            text = self._before(text)
        kept = 0 if self.met else max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]

    def flush(self) -> str:
        """What was held back, when no more tokens come."""
        if self.met:
            return ""
        text, self._held = self._held + self._detokenizer.flush(), ""
        return text if self._early else self._before(text)

    def _before(self, text: str) -> str:
        found = [index for stop in self._stop if (index := text.find(stop)) >= 0]
        self.met = bool(found)
        return text[: min(found)] if found else text


def _overlap(text: str, stop: str) -> int:
    """Characters at the end of a text that are a beginning of `stop`, and not all of it."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
