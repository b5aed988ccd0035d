"""Drawing each row's token from what temperature, min_p, top_k and top_p leave of its distribution.

    p = softmax(x / t), without x/t < max + log(min_p), then without all but the k likeliest, then without all but the
    likeliest that reach top_p of what is left; tokens as likely as the last that stays, stay
    token = the first whose cumulated p exceeds u, a function of the row's seed and token index

What stays is mostly a few tokens of very many, so the likeliest are looked at first. Where they do not decide it,
nothing is sorted either: tokens are drawn from all, and one that top_p leaves out is drawn again among the likelier.
Sums run along a row only, in an order that does not depend on how many rows there are.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn.functional import pad

from adapterhub.engine.request import Sampling

LIKELIEST = 64
"""How many are looked at first."""
GROUP = 32
"""Neighbours among which the likeliest stands for all, while the likeliest of all are sought."""
BLOCK = 64
"""Neighbours whose probabilities are summed up before they are cumulated."""
COLDEST = 1e-6
"""A temperature below it is as this one: fp32 could not divide by it."""
INFINITY = float("inf")


class Options(NamedTuple):
    """Of rows, each [rows, 1]."""

    temperature: Tensor
    top_k: Tensor
    """0 for all."""
    top_p: Tensor
    log_min_p: Tensor

    @classmethod
    def of(cls, sampling: list[Sampling], device: torch.device) -> Self:
        # logarithms of one number each: a vector's last ones may differ in a bit from its others
        logs = [math.log(each.min_p) if each.min_p else -INFINITY for each in sampling]
        columns = [(max(each.temperature, COLDEST), each.top_p, log) for each, log in zip(sampling, logs, strict=True)]
        temperature, top_p, log_min_p = torch.tensor(columns, device=device).unsqueeze(-1).unbind(1)
        top_k = torch.tensor([[each.top_k] for each in sampling], device=device)
        return cls(temperature, top_k, top_p, log_min_p)

    def rows(self, rows: Tensor) -> Self:
        return type(self)(*(each[rows] for each in self))


def draw(logits: Tensor, sampling: list[Sampling], token_index: list[int]) -> Tensor:
    """The rows' tokens, [rows]. `logits`: [rows, vocab] in fp32, each with a finite one; every temperature over 0."""
    device = logits.device
    keys = [
        (each.seed * 0x9E3779B97F4A7C15 + index) % (1 << 64) for each, index in zip(sampling, token_index, strict=True)
    ]
    options = Options.of(sampling, device)
    tokens = torch.empty(len(logits), dtype=torch.long, device=device)
    left = torch.ones(len(logits), dtype=torch.bool, device=device)
    cut = [row for row, each in enumerate(sampling) if each.top_k or each.min_p or each.top_p < 1]
    if cut and logits.shape[1] > LIKELIEST:
        rows = torch.tensor(cut, device=device)
        tokens[rows], decided = _of_likeliest(
            _rows(logits, rows), options.rows(rows), _noise([keys[row] for row in cut], device)
        )
        left[rows[decided]] = False
    rest = left.nonzero().squeeze(1)
    if len(rest):
        tokens[rest] = _of_all(_rows(logits, rest), options.rows(rest), [keys[row] for row in rest.tolist()])
    return tokens


def _of_likeliest(logits: Tensor, options: Options, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Rows' tokens, and whether the likeliest decide them, both [rows]."""
    values, ids = _top(logits)
    scaled = values / options.temperature
    kth = scaled.gather(1, (options.top_k - 1).clamp(0, LIKELIEST - 1))
    floor = torch.where((options.top_k > 0) & (options.top_k <= LIKELIEST), kth, -INFINITY)
    floor = torch.maximum(floor, scaled[:, :1] + options.log_min_p)
    p = torch.softmax(scaled.masked_fill(scaled < floor, -INFINITY), dim=-1)
    free = floor == -INFINITY
    rows = free.flatten().nonzero().squeeze(1)
    if len(rows):  # top_p is of all tokens, most of which are not here
        whole = torch.softmax(_rows(logits, rows) / options.temperature[rows], dim=-1)
        p[rows] = whole.gather(1, ids[rows])
    cumulated = p.double().cumsum(dim=-1)
    last = (cumulated - p < options.top_p).sum(dim=-1, keepdim=True) - 1
    reached = torch.where(options.top_p < 1, scaled.gather(1, last.clamp(min=0)), -INFINITY)
    p = p.masked_fill(scaled < torch.maximum(floor, reached), 0.0)
    cumulated = p.double().cumsum(dim=-1)
    place = _first_over(cumulated, noise * cumulated[:, -1:])
    # none that is not here can stay: the least of these does not, or the others have no probability at all
    least = scaled[:, -1:]
    decided = (least < torch.where(free, reached, floor)) | (least == -INFINITY)
    return ids.gather(1, place).squeeze(1), decided.squeeze(1)


def _of_all(logits: Tensor, options: Options, keys: list[int]) -> Tensor:
    """Rows' tokens, [rows]."""
    scaled = logits / options.temperature
    floor = scaled.new_full((len(scaled), 1), -INFINITY)
    for row, k in enumerate(options.top_k.flatten().tolist()):
        if 0 < k < scaled.shape[1]:  # seldom: the likeliest have not decided it
            floor[row] = scaled[row].kthvalue(scaled.shape[1] - k + 1).values
    if bool((options.log_min_p > -INFINITY).any()):
        floor = torch.maximum(floor, scaled.amax(dim=-1, keepdim=True) + options.log_min_p)
    if bool((floor > -INFINITY).any()):
        scaled.masked_fill_(scaled < floor, -INFINITY)
    p = torch.softmax(scaled, dim=-1)
    tokens = _pick(p, _noise(keys, p.device))
    undecided = (options.top_p < 1).flatten().nonzero().squeeze(1)
    p = p[undecided]
    attempt = 0
    while len(undecided):
        own = tokens[undecided].unsqueeze(1)
        likelier = p.masked_fill(p <= p.gather(1, own), 0.0)
        outside = (_cumulated(likelier)[:, -1:] >= options.top_p[undecided]).squeeze(1)
        undecided, p = undecided[outside], likelier[outside]
        if len(undecided):
            attempt += 1
            noise = _noise([keys[row] + (attempt << 64) for row in undecided.tolist()], p.device)
            tokens[undecided] = _pick(p, noise)
    return tokens


def _pick(p: Tensor, noise: Tensor) -> Tensor:
    """Tokens by their probabilities up to a factor, [rows, vocab], and u, [rows, 1]: first a block, then one of it."""
    cumulated = _cumulated(p)
    target = noise * cumulated[:, -1:]
    block = _first_over(cumulated, target)
    before = torch.where(block > 0, cumulated.gather(1, (block - 1).clamp(min=0)), 0.0)
    inside = _blocks(p, BLOCK, 0.0).gather(1, block.unsqueeze(-1).expand(-1, 1, BLOCK)).squeeze(1)
    sums = inside.double().cumsum(dim=-1)
    # a block's sum in fp32 and that of its tokens in fp64 differ in the last bits; no target lies behind the tokens
    target = torch.minimum(target - before, sums[:, -1:] * (1 - 2.0**-50))
    return (block * BLOCK + _first_over(sums, target)).squeeze(1).clamp(max=p.shape[1] - 1)


def _cumulated(p: Tensor) -> Tensor:
    """The sum up to each block's end, [rows, blocks] in fp64."""
    return _blocks(p, BLOCK, 0.0).sum(dim=-1).double().cumsum(dim=-1)


def _top(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The likeliest tokens of rows and their ids, [rows, LIKELIEST]."""
    if logits.shape[1] < LIKELIEST * GROUP * 2:
        values, ids = logits.topk(LIKELIEST, dim=-1)
        return values, ids
    # each of the likeliest is in one of as many groups with the likeliest heads
    groups = _blocks(logits, GROUP, -INFINITY)
    chosen = groups.amax(dim=-1).topk(LIKELIEST, dim=-1).indices
    near = groups.gather(1, chosen.unsqueeze(-1).expand(-1, -1, GROUP)).flatten(1)
    values, places = near.topk(LIKELIEST, dim=-1)
    ids = chosen.gather(1, places // GROUP) * GROUP + places % GROUP
    return values, ids.clamp(max=logits.shape[1] - 1)


def _blocks(x: Tensor, size: int, filler: float) -> Tensor:
    """[rows, vocab] as [rows, blocks, size]; a copy only where the last is not full."""
    missing = -x.shape[1] % size
    return (pad(x, (0, missing), value=filler) if missing else x).view(len(x), -1, size)


def _first_over(cumulated: Tensor, target: Tensor) -> Tensor:
    """The first place in each row where the sum exceeds its target, [rows, 1]."""
    return torch.searchsorted(cumulated, target, right=True).clamp_(max=cumulated.shape[1] - 1)


def _rows(x: Tensor, rows: Tensor) -> Tensor:
    """Rows by ascending numbers; without a copy where they are neighbours."""
    first, last = int(rows[0]), int(rows[-1])
    return x[first : last + 1] if last - first < len(rows) else x[rows]


def _noise(keys: list[int], device: torch.device) -> Tensor:
    """From 0 to below 1, in steps of 2^-52, [rows, 1]: two rounds of SplitMix64's finalizer over each key."""
    return torch.tensor([[_uniform(key)] for key in keys], dtype=torch.float64, device=device)


def _uniform(key: int) -> float:
    z = (key ^ (key >> 64) * 0xD1B54A32D192ED03) % (1 << 64)
    for _ in range(2):
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % (1 << 64)
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % (1 << 64)
        z ^= z >> 31
    return float(z >> 12) * 2.0**-52
