"""Token ids to text while they are generated, without ever giving half a character.

What is not covered: a decoder with byte fallback spoils a whole run of bytes for one that is not
UTF-8, characters that were given included; the pieces keep those characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

REPLACEMENT = "\ufffd"
"""What a decoder writes for bytes that are not, or not yet, a character."""


class Detokenizer:
    """The text of one generation: what `push` and `flush` give joins to the decoded whole.

    A token's text may depend on the token before it, so a window of ids is decoded each time: the
    ids whose text was last completed, then those after them.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, silent: frozenset[int] | None = None) -> None:
        """`silent` are the special tokens that have no text; None for all of them."""
        self._tokenizer = tokenizer
        self._silent = silent
        self._window: list[int] = []
        self._complete = 0
        """Ids at the window's start whose text is complete; kept as context for the next."""
        self._given = 0
        """Characters of the window's text that were given."""

    def push(self, token_ids: Sequence[int]) -> str:
        """The text that is new with these ids, silent tokens skipped; what may change is held back."""
        silent = self._silent or ()
        return "".join([self._push(token) for token in token_ids if token not in silent])

    def flush(self) -> str:
        """What was held back, when no more ids come."""
        text = self._decode(self._window)
        new = text[self._given :]
        self._given = len(text)
        return new

    def _push(self, token: int) -> str:
        self._window.append(token)
        text = self._decode(self._window)
        stable = text.rstrip(REPLACEMENT)
        new = stable[self._given :]
        self._given = max(self._given, len(stable))
        if len(stable) == len(text):
            self._move_window()
        return new

    def _move_window(self) -> None:
        """Drop the old context. Ids without text stay: they say nothing about what follows them."""
        rest = self._window[self._complete :]
        if text := self._decode(rest):
            self._window = rest
            self._given = len(text)
        self._complete = len(self._window)

    def _decode(self, token_ids: list[int]) -> str:
        skip = self._silent is None
        text = self._tokenizer.decode(token_ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False)
        assert isinstance(text, str)
        return text
