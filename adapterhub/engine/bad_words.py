"""Texts that are never generated, as tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Ids = tuple[int, ...]


def bad_word_ids(tokenizer: PreTrainedTokenizerBase, words: Sequence[str]) -> frozenset[Ids]:
    """Each word as the tokenizer cuts it, alone and behind a space.

    What is not covered: other ways to cut the same text, and the text as a part of longer tokens.
    """
    texts = (text for word in words for text in (word, f" {word}"))
    found = (tuple(tokenizer.encode(text, add_special_tokens=False)) for text in texts)
    return frozenset(ids for ids in found if ids)


class BadWords:
    """Which tokens would complete one, behind given tokens."""

    def __init__(self, words: frozenset[Ids]) -> None:
        self.single = sorted(ids[0] for ids in words if len(ids) == 1)
        """Tokens that are one by themselves."""
        self._endings: dict[int, list[tuple[list[int], int]]] = {}
        """Last token but one of a word -> the tokens before its last, and its last."""
        for *before, last in sorted(words):
            if before:
                self._endings.setdefault(before[-1], []).append((before, last))

    def after(self, token_ids: list[int]) -> list[int]:
        """Tokens that would complete one of several tokens."""
        endings = self._endings.get(token_ids[-1], ())
        return [last for before, last in endings if token_ids[-len(before) :] == before]
