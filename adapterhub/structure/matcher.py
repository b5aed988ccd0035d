"""How far one text has come in its structure."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from adapterhub.structure.grammar import refusal
from adapterhub.structure.structure import Structure

if TYPE_CHECKING:
    from llguidance import LLMatcher


ALLOWANCE_SECONDS = 0.5
TOKEN_SECONDS = 0.01
"""Of the processor: what a text may cost the steps it shares with others, for itself and for each of its tokens. Usual
is less than a ten-thousandth of a second; a grammar that can be read in many ways costs more with every token."""


class Matcher:
    """Which tokens may come next, of one generation. It goes on from token to token and never back."""

    def __init__(self, matcher: LLMatcher, structure: Structure) -> None:
        self._matcher = matcher
        self._structure = structure
        self._tokens = 0
        self._spent = 0.0

    def fill(self, address: int, size: int) -> None:
        """Write the mask of the next token into memory: a bit per token, the lowest first, `size` bytes.

        What goes wrong is told by the `push` that follows.
        """
        start = time.thread_time()
        self._matcher.unsafe_compute_mask_ptr(address, size)
        self._spent += time.thread_time() - start

    def push(self, token: int) -> bool:
        """A token has been chosen: True when the text is whole and nothing can follow, or it was an end of sequence.

        Raises InvalidInputError when the token leads out of the structure, and when the structure has become too
        complex to go on with.
        """
        start = time.thread_time()
        # A mask that could not be computed is one of the end of sequence alone, which is then no end of the text.
        goes_on = not self._matcher.is_error() and self._matcher.consume_token(token)
        self._spent += time.thread_time() - start
        self._tokens += 1
        if self._spent > ALLOWANCE_SECONDS + TOKEN_SECONDS * self._tokens:
            raise refusal(self._structure, f"{self._tokens} tokens took {self._spent:.1f} s to decide")
        if not goes_on:
            raise refusal(self._structure, self._matcher.get_error() or "the token that was chosen leads out of it")
        return self._matcher.is_stopped()
