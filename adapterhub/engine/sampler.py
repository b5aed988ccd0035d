"""Choosing each row's next token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from adapterhub.engine.adjust import adjust
from adapterhub.engine.draw import draw
from adapterhub.engine.request import Sampling
from adapterhub.engine.rules import Rules

SLAB = 1 << 19
"""Numbers of whole rows at a time: a few MB stay in the cache, and with the allocator, where tens would go back."""
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
    changed = [row for row, each in enumerate(rules) if each or row in allowed]
    rest = sorted(set(range(len(sampling))) - set(changed))
    noisy = [row for row in rest if sampling[row].temperature > 0]
    tokens = _likeliest(logits) if len(noisy) < len(rest) else torch.zeros(len(sampling), dtype=torch.long)
    size = max(1, SLAB // logits.shape[1])
    for rows in _slabs(noisy, size):
        together = rows[-1] - rows[0] < len(rows)
        scores = logits[rows[0] : rows[-1] + 1] if together else logits[rows]
        tokens[rows] = _choose(scores, [sampling[row] for row in rows], [token_index[row] for row in rows])
    for rows in _slabs(changed, size):
        scores = logits[rows]
        masks = {place: allowed[row] for place, row in enumerate(rows) if row in allowed}
        adjust(scores, [rules[row] for row in rows], masks)
        tokens[rows] = _choose(scores, [sampling[row] for row in rows], [token_index[row] for row in rows])
    return [int(token) for token in tokens.tolist()]


def _choose(scores: Tensor, sampling: list[Sampling], token_index: list[int]) -> Tensor:
    """Tokens of rows whose rules are applied: [rows], on the CPU."""
    noisy = [row for row, options in enumerate(sampling) if options.temperature > 0]
    if len(noisy) == len(sampling):
        return draw(scores, sampling, token_index).cpu()
    tokens = _likeliest(scores)
    if noisy:
        own = draw(scores[noisy], [sampling[row] for row in noisy], [token_index[row] for row in noisy])
        tokens[noisy] = own.cpu()
    return tokens


def _slabs(rows: list[int], size: int) -> list[list[int]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _likeliest(scores: Tensor) -> Tensor:
    """argmax of each row, the first of equals: [rows], on the CPU."""
    if scores.shape[1] % BLOCK:
        return scores.argmax(dim=-1).cpu()
    blocks = scores.view(len(scores), -1, BLOCK)
    block = blocks.amax(dim=-1).argmax(dim=-1)
    inside = blocks[torch.arange(len(scores), device=scores.device), block].argmax(dim=-1)
    return (block * BLOCK + inside).cpu()
