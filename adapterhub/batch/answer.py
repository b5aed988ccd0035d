"""An answer, whoever gave it."""

from __future__ import annotations

from typing import NamedTuple


class TokenLogprobs(NamedTuple):
    """A token's log-probability, and the likeliest tokens by id with theirs."""

    logprob: float
    top: tuple[tuple[int, float], ...]


class Answer(NamedTuple):
    """One whole answer."""

    text: str
    token_ids: tuple[int, ...]
    finish_reason: str
    """`stop` or `length`."""
    prompt_tokens: int
    logprobs: tuple[TokenLogprobs, ...] = ()
    """One for each token, where asked for."""
    digest: str = ""
    """Of the adapter or the blend that answered; empty for the bare base."""
