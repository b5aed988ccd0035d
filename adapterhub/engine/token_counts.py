"""Which tokens a sequence has, and how often it generated each."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


class TokenCounts:
    """Kept up with every token, so that a step reads it and counts nothing."""

    def __init__(self, prompt_ids: Iterable[int], room: int) -> None:
        """`room`: the most tokens that will be generated. Tokens of the prompt are there with a count of 0."""
        self._places = {token: place for place, token in enumerate(dict.fromkeys(prompt_ids))}
        size = len(self._places)
        self._ids = np.empty(size + room, dtype=np.int64)
        self._ids[:size] = list(self._places)
        self._generated = np.zeros(size + room, dtype=np.float32)

    def push(self, token: int) -> None:
        """A token was generated."""
        place = self._places.setdefault(token, len(self._places))
        self._ids[place] = token
        self._generated[place] += 1

    @property
    def ids(self) -> NDArray[np.int64]:
        """The distinct tokens, [n]; a view."""
        return self._ids[: len(self._places)]

    @property
    def generated(self) -> NDArray[np.float32]:
        """How often each was generated, [n]; a view."""
        return self._generated[: len(self._places)]
