"""Choosing each row's next token."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from adapterhub.engine.request import Sampling


def sample(
    logits: Tensor, sampling: list[Sampling], token_index: list[int], allowed: Mapping[int, Tensor] | None = None
) -> list[int]:
    """The next token of each row. `logits`: [rows, vocab] in fp32; `token_index`: how many it has generated.

    A row in `allowed` chooses among these tokens alone, bool [vocab]; all else applies to what is left.

    Rows with a temperature use the Gumbel-max trick: argmax(logits / t - log(-log u)), where u is a
    function of the row's seed and token index alone, so neighbours and order cannot move a choice.
    """
    scores = logits
    noisy = [row for row, options in enumerate(sampling) if options.temperature > 0]
    if noisy or allowed:
        scores = logits.clone()
        for row, mask in (allowed or {}).items():
            scores[row].masked_fill_(~mask.to(scores.device), float("-inf"))
        for row in noisy:
            options = sampling[row]
            kept = _truncate(scores[row] / options.temperature, options)
            scores[row] = kept + _gumbel(kept.shape[0], options.seed, token_index[row]).to(kept.device)
    return [int(token) for token in scores.argmax(dim=-1).tolist()]


def _truncate(scores: Tensor, options: Sampling) -> Tensor:
    """Minus infinity outside the k likeliest and outside the likeliest that reach probability p."""
    if 0 < options.top_k < scores.shape[0]:
        threshold = torch.topk(scores, options.top_k).values[-1]
        scores = scores.masked_fill(scores < threshold, float("-inf"))
    if options.top_p < 1:
        ordered, order = torch.sort(scores, descending=True, stable=True)
        probabilities = torch.softmax(ordered, dim=-1)
        before = probabilities.cumsum(dim=-1) - probabilities
        scores = scores.index_fill(0, order[before >= options.top_p], float("-inf"))
    return scores


def _gumbel(size: int, seed: int, index: int) -> Tensor:
    generator = torch.Generator().manual_seed((seed * 0x9E3779B97F4A7C15 + index) % (1 << 63))
    uniform = torch.rand(size, generator=generator, dtype=torch.float64)
    return -torch.log(-torch.log(uniform.clamp_(1e-300, 1 - 1e-16))).float()
