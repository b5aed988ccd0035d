"""Drawing each row's token from what temperature, min_p, top_k and top_p leave of its distribution.

    p = softmax(x / t), without x/t < max + log(min_p), then without all but the k likeliest, then without all but the
    likeliest that reach top_p of what is left; tokens as likely as the last that stays, stay
    token = the first whose cumulated p exceeds u, a function of the row's seed and token index

What stays is mostly a few tokens of very many, so the likeliest are looked at first: all of a row where they do not
decide it. Sums run along a row only, in an order that does not depend on how many rows there are.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn.functional import pad

from adapterhub.engine.request import Sampling

WIDTHS = (128, 2048)
"""How many of the likeliest are looked at before all are."""
BLOCK = 64
GROUP = 16
"""Neighbours among which the likeliest stands for all, while the likeliest of all are sought."""
COLDEST = 1e-6
"""A temperature below it is as this one: fp32 could not divide by it."""
INFINITY = float("inf")


class Truncation(NamedTuple):
    """Rows' options, each [rows, 1] in fp32."""

    temperature: Tensor
    top_k: Tensor
    """As int64; 0 for all."""
    top_p: Tensor
    log_min_p: Tensor

    @classmethod
    def of(cls, sampling: list[Sampling], device: torch.device) -> Self:
        # logarithms of one number each: a vector's last ones may differ in a bit from its others
        logs = [math.log(each.min_p) if each.min_p else -INFINITY for each in sampling]
        options = [(max(each.temperature, COLDEST), each.top_p, log) for each, log in zip(sampling, logs, strict=True)]
        temperature, top_p, min_p = torch.tensor(options, dtype=torch.float32, device=device).unsqueeze(-1).unbind(1)
        top_k = torch.tensor([[each.top_k] for each in sampling], device=device)
        return cls(temperature, top_k, top_p, min_p)

    def rows(self, kept: Tensor) -> Self:
        return type(self)(*(each[kept] for each in self))


def draw(logits: Tensor, sampling: list[Sampling], token_index: list[int]) -> Tensor:
    """The rows' tokens, [rows]. `logits`: [rows, vocab] in fp32, each with a finite one; every temperature over 0."""
    uniform = [_uniform(each.seed, index) for each, index in zip(sampling, token_index, strict=True)]
    noise = torch.tensor(uniform, dtype=torch.float64, device=logits.device).unsqueeze(1)
    options = Truncation.of(sampling, logits.device)
    tokens = torch.empty(len(logits), dtype=torch.long, device=logits.device)
    cut = [row for row, each in enumerate(sampling) if each.top_k or each.min_p or each.top_p < 1]
    if len(cut) < len(sampling):
        rows = _tensor(sorted(set(range(len(sampling))) - set(cut)), logits)
        tokens[rows] = _of_all(_scaled(_rows(logits, rows), options.temperature[rows]), noise[rows])
    left = _tensor(cut, logits)
    for width in (*WIDTHS, logits.shape[1]):
        if not len(left):
            break
        found, decided = _of_likeliest(_rows(logits, left), options.rows(left), noise[left], width)
        tokens[left[decided]] = found[decided]
        left = left[~decided]
    return tokens


def _of_all(scaled: Tensor, noise: Tensor) -> Tensor:
    """Tokens of rows that nothing truncates: first a block of neighbours, then one of its tokens."""
    p = torch.softmax(scaled, dim=-1)
    blocks = _blocks(p, BLOCK, 0.0)
    cumulated = blocks.sum(dim=-1).double().cumsum(dim=-1)
    target = noise * cumulated[:, -1:]
    block = _first_over(cumulated, target)
    before = torch.where(block > 0, cumulated.gather(1, (block - 1).clamp(min=0)), 0.0)
    inside = blocks.gather(1, block.unsqueeze(-1).expand(-1, 1, BLOCK)).squeeze(1)
    sums = inside.double().cumsum(dim=-1)
    # the block's sum in fp32 and that of its tokens in fp64 differ in the last bits; no target lies behind the tokens
    target = torch.minimum(target - before, sums[:, -1:] * (1 - 2.0**-50))
    return (block * BLOCK + _first_over(sums, target)).squeeze(1).clamp(max=scaled.shape[1] - 1)


def _of_likeliest(logits: Tensor, options: Truncation, noise: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Rows' tokens, and whether the likeliest `width` decide them, both [rows]."""
    values, ids = _top(logits, width)
    weights, decided = kept(logits, values, ids, options)
    cumulated = weights.double().cumsum(dim=-1)
    place = _first_over(cumulated, noise * cumulated[:, -1:])
    return ids.gather(1, place).squeeze(1), decided


def kept(logits: Tensor, values: Tensor, ids: Tensor, options: Truncation) -> tuple[Tensor, Tensor]:
    """Probabilities, up to a factor, of rows' likeliest tokens, 0 for those that do not stay: [rows, width].

    `values` and `ids`, [rows, width], are those of the likeliest, the likeliest first. The second, [rows], says
    whether no other token stays; only then is the first right.
    """
    width = values.shape[1]
    scaled = _scaled(values, options.temperature, values[:, :1])
    kth = scaled.gather(1, (options.top_k - 1).clamp(0, width - 1))
    floor = torch.where((options.top_k > 0) & (options.top_k <= width), kth, -INFINITY)
    floor = torch.maximum(floor, options.log_min_p)
    p = torch.softmax(scaled.masked_fill(scaled < floor, -INFINITY), dim=-1)
    free = ((options.top_k == 0) & (options.log_min_p == -INFINITY)).squeeze(1)
    if width < logits.shape[1] and bool(free.any()):  # a share of all tokens, most of which are not here
        whole = torch.softmax(_scaled(_rows(logits, free), options.temperature[free], values[free, :1]), dim=-1)
        p[free] = whole.gather(1, ids[free])
    before = p.double().cumsum(dim=-1) - p
    last = (before < options.top_p).sum(dim=-1, keepdim=True) - 1
    reached = torch.where(options.top_p < 1, scaled.gather(1, last.clamp(min=0)), -INFINITY)
    bound = torch.where(free.unsqueeze(1), reached, floor)
    least = scaled[:, -1:]
    decided = (least < bound) | (least == -INFINITY) if width < logits.shape[1] else torch.ones_like(free)
    return p.masked_fill(scaled < torch.maximum(floor, reached), 0.0), decided.view(-1)


def _top(logits: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """The likeliest tokens of rows and their ids, [rows, width or vocab]."""
    vocab = logits.shape[1]
    if width >= vocab:
        values, ids = logits.sort(dim=-1, descending=True, stable=True)
        return values, ids
    if width * GROUP * 2 > vocab:
        return tuple(logits.topk(width, dim=-1))  # type: ignore[return-value]
    # each of the likeliest is in one of as many groups with the likeliest heads
    groups = _blocks(logits, GROUP, -INFINITY)
    chosen = groups.amax(dim=-1).topk(width, dim=-1).indices
    near = groups.gather(1, chosen.unsqueeze(-1).expand(-1, -1, GROUP)).flatten(1)
    values, places = near.topk(width, dim=-1)
    ids = chosen.gather(1, places // GROUP) * GROUP + places % GROUP
    return values, ids.clamp(max=vocab - 1)


def _scaled(logits: Tensor, temperature: Tensor, largest: Tensor | None = None) -> Tensor:
    """(x - max) / t, so that no temperature overflows."""
    if largest is None:
        largest = _blocks(logits, BLOCK, -INFINITY).amax(dim=-1).amax(dim=-1, keepdim=True)
    return (logits - largest).div_(temperature)


def _blocks(x: Tensor, size: int, filler: float) -> Tensor:
    """[rows, vocab] as [rows, blocks, size]; a copy only where the last is not full."""
    missing = -x.shape[1] % size
    return (pad(x, (0, missing), value=filler) if missing else x).view(len(x), -1, size)


def _first_over(cumulated: Tensor, target: Tensor) -> Tensor:
    """The first place in each row where the sum exceeds its target, [rows, 1]."""
    return torch.searchsorted(cumulated, target, right=True).clamp_(max=cumulated.shape[1] - 1)


def _rows(x: Tensor, rows: Tensor) -> Tensor:
    """Some rows, by ascending number or by mask; without a copy where they are all."""
    everyone = bool(rows.all()) if rows.dtype == torch.bool else len(rows) == len(x)
    return x if everyone else x[rows]


def _tensor(rows: list[int], beside: Tensor) -> Tensor:
    return torch.tensor(rows, dtype=torch.long, device=beside.device)


def _uniform(seed: int, index: int) -> float:
    """From 0 to below 1, in steps of 2^-52: two rounds of SplitMix64's finalizer over seed and index."""
    z = (seed * 0x9E3779B97F4A7C15 + index) % (1 << 64)
    for _ in range(2):
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % (1 << 64)
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % (1 << 64)
        z ^= z >> 31
    return float(z >> 12) * 2.0**-52
