"""What a request's options do to its logits beyond temperature and truncation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

import numpy as np

from adapterhub.engine.bad_words import BadWords, Ids
from adapterhub.engine.request import Request, Sampling
from adapterhub.engine.token_counts import TokenCounts


class Rules:
    """One sequence's. It is told of every token."""

    def __init__(self, request: Request, bad_words: frozenset[Ids], endings: frozenset[int]) -> None:
        """`endings` are the tokens that may not come before `min_tokens`."""
        sampling = request.sampling
        self.sampling = sampling
        self.bias_ids = np.fromiter(sampling.logit_bias, dtype=np.int64)
        self.biases = np.fromiter(sampling.logit_bias.values(), dtype=np.float32)
        self.counts = _counts(request)
        """None without penalties."""
        self._bad_words = BadWords(bad_words)
        self._endings = sorted(endings)
        self._token_ids = list(request.prompt_ids)
        self._generated = 0

    @classmethod
    def of(
        cls, request: Request, bad_word_ids: Callable[[Sequence[str]], frozenset[Ids]], eos: frozenset[int]
    ) -> Self | None:
        """None for a request that has no such options, and so costs nothing."""
        sampling = request.sampling
        if not (sampling.logit_bias or sampling.bad_words or sampling.min_tokens or has_penalties(sampling)):
            return None
        return cls(request, bad_word_ids(sampling.bad_words), eos | frozenset(sampling.stop_token_ids))

    def push(self, token: int) -> None:
        """A token was generated."""
        self._token_ids.append(token)
        self._generated += 1
        if self.counts:
            self.counts.push(token)

    def banned(self) -> list[int]:
        """Tokens that must not come next."""
        early = self._endings if self._generated < self.sampling.min_tokens else []
        return [*self._bad_words.single, *self._bad_words.after(self._token_ids), *early]


def has_penalties(sampling: Sampling) -> bool:
    return sampling.repetition_penalty != 1 or bool(sampling.presence_penalty or sampling.frequency_penalty)


def _counts(request: Request) -> TokenCounts | None:
    sampling = request.sampling
    if not has_penalties(sampling):
        return None
    return TokenCounts(request.prompt_ids if sampling.repetition_penalty != 1 else (), sampling.max_new_tokens)
