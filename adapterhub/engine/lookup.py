"""Guessing a sequence's next tokens from what it repeats.

Source: Saxena 2023, "Prompt Lookup Decoding" (github.com/apoorvumang/prompt-lookup-decoding).
"""

from __future__ import annotations

from itertools import takewhile

SIZES = (5, 3)
"""Tokens of an ending that is looked for, the longer first; of shorter ones chance finds too many."""

MAX_PAUSE = 31
"""When many sequences run, a guess costs most of what a token does: text that repeats nothing is left alone."""


class Lookup:
    """Of one sequence: where each of its runs of tokens stood last, and how many guesses are worth their rows."""

    def __init__(self, tokens: list[int], limit: int) -> None:
        """At most `limit` guesses a step, after `tokens`."""
        self._limit = limit
        self._length = limit
        """Guesses of the next step: more after right ones, fewer after wrong ones."""
        self._last: tuple[int, ...] = ()
        self._pause = 0
        """Tokens to let pass after guesses of which none was right."""
        self._resume = 0
        """Tokens from which on it guesses."""
        self._ends: dict[tuple[int, ...], int] = {}
        """Run of tokens -> the index behind its last but the sequence's own ending."""
        self._known = 0
        """Tokens whose runs are in it."""
        self._learn(tokens)

    def guess(self, tokens: list[int], most: int) -> tuple[int, ...]:
        """What followed the longest ending of `tokens` that stood before, up to `most`; a loop goes on around."""
        self._learn(tokens)
        if len(tokens) < self._resume:
            return ()
        found = (self._ends.get(tuple(tokens[-size:])) for size in SIZES)
        end = next((place for place in found if place is not None), None)
        if end is None:
            return ()
        period = len(tokens) - end
        guesses = tuple(tokens[end + index % period] for index in range(min(most, self._length)))
        self._last = guesses
        return guesses

    def _learn(self, tokens: list[int]) -> None:
        """Take in how many of the last guesses were right, and all runs that end before the sequence does."""
        if self._last:
            came = tokens[self._known + 1 :]
            right = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(self._last, came, strict=False)))
            self._length = min(self._limit, 2 * self._length) if right == len(self._last) else max(1, right)
            self._pause = 0 if right else min(MAX_PAUSE, 2 * self._pause + 1)
            self._resume = len(tokens) + self._pause
            self._last = ()
        for end in range(self._known + 1, len(tokens)):
            for size in SIZES:
                if size <= end:
                    self._ends[tuple(tokens[end - size : end])] = end
        self._known = max(self._known, len(tokens) - 1)
