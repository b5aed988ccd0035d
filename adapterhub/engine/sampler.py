"""Choosing each row's next token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from adapterhub.engine.adjust import adjust
from adapterhub.engine.draw import draw
from adapterhub.engine.request import Sampling
from adapterhub.engine.rules import Rules

BLOCK = 64
"""Neighbours of which the largest is found first: one pass that needs no index is faster than one that does."""


def sample(
    logits: Tensor,
    sampling: list[Sampling],
    token_index: list[int],
    rules: Sequence[Rules | None] = (),
    allowed: Mapping[int, Tensor] | None = None,
) -> list[int]:
    """The next token of each row. `logits`: [rows, vocab] in fp32; `token_index`: how many it has generated.

    `rules`, one for each row or none at all, change a row's logits first; `allowed`, row -> bool [vocab], is all that
    may be chosen. The logits given stay as they are. A row's choice is a function of its own logits, options, seed
    and token index: neighbours and order cannot move it.
    """
    allowed = allowed or {}
    rules = rules or [None] * len(sampling)
    ruled = [row for row, each in enumerate(rules) if each or row in allowed]
    plain = sorted(set(range(len(sampling))) - set(ruled)) if ruled else list(range(len(sampling)))
    tokens = [0] * len(sampling)
    for rows, changes in ((plain, False), (ruled, True)):
        if not rows:
            continue
        scores = logits if len(rows) == len(sampling) and not changes else logits[rows]
        if changes:
            masks = {place: allowed[row] for place, row in enumerate(rows) if row in allowed}
            adjust(scores, [rules[row] for row in rows], masks)
        chosen = _choose(scores, [sampling[row] for row in rows], [token_index[row] for row in rows])
        for row, token in zip(rows, chosen.tolist(), strict=True):
            tokens[row] = token
    return tokens


def _choose(scores: Tensor, sampling: list[Sampling], token_index: list[int]) -> Tensor:
    """Tokens of rows whose rules are applied: [rows]."""
    noisy = [row for row, options in enumerate(sampling) if options.temperature > 0]
    if not noisy:
        return _likeliest(scores)
    if len(noisy) == len(sampling):
        return draw(scores, sampling, token_index)
    tokens = _likeliest(scores)
    tokens[noisy] = draw(scores[noisy], [sampling[row] for row in noisy], [token_index[row] for row in noisy])
    return tokens


def _likeliest(scores: Tensor) -> Tensor:
    """argmax of each row, the first of equals: [rows]."""
    if scores.shape[1] % BLOCK:
        return scores.argmax(dim=-1)
    blocks = scores.view(len(scores), -1, BLOCK)
    block = blocks.amax(dim=-1).argmax(dim=-1)
    inside = blocks[torch.arange(len(scores), device=scores.device), block].argmax(dim=-1)
    return block * BLOCK + inside
