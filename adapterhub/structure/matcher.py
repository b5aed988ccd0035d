"""How far one text has come in its structure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapterhub.structure.grammar import refusal
from adapterhub.structure.structure import Structure

if TYPE_CHECKING:
    from llguidance import LLMatcher


class Matcher:
    """Which tokens may come next, of one generation. It goes on from token to token and never back."""

    def __init__(self, matcher: LLMatcher, structure: Structure) -> None:
        self._matcher = matcher
        self._structure = structure

    def fill(self, address: int, size: int) -> None:
        """Write the mask of the next token into memory: a bit per token, the lowest first, `size` bytes.

        What goes wrong is told by the `push` that follows.
        """
        self._matcher.unsafe_compute_mask_ptr(address, size)

    def push(self, token: int) -> bool:
        """A token has been chosen: True when the text is whole and nothing can follow, or it was an end of sequence.

        Raises InvalidInputError when the token leads out of the structure, and when the structure has become too
        complex to go on with.
        """
        if not self._matcher.consume_token(token):
            raise refusal(self._structure, self._matcher.get_error() or "the token that was chosen leads out of it")
        return self._matcher.is_stopped()
