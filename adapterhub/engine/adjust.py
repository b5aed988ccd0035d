"""Logits as their requests' rules have them.

    x = x + bias;  x = -inf where banned
    x = x / r where x > 0 else x * r       for tokens of prompt and text, r the repetition penalty
    x = x - f * count - p * (count > 0)    count: how often the token was generated

Only the places that a rule names are touched, all rows' at once, each by operations that round by themselves: what
a row becomes does not depend on the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from adapterhub.engine.rules import Rules


def adjust(scores: Tensor, rules: Sequence[Rules | None], allowed: Mapping[int, Tensor]) -> None:
    """Change `scores`, [rows, vocab] in fp32, in place. `allowed`: row -> bool [vocab], what may come at all.

    Rules that together leave a row nothing are not held against what is allowed to it.
    """
    for row, mask in allowed.items():
        scores[row].masked_fill_(~mask.to(scores.device), float("-inf"))
    before = {row: scores[row].clone() for row in allowed if rules[row]}
    _bias(scores, rules)
    _ban(scores, rules)
    _penalize(scores, rules)
    for row, own in before.items():
        if scores[row].amax() == float("-inf"):
            scores[row] = own


def _bias(scores: Tensor, rules: Sequence[Rules | None]) -> None:
    biased = [(row, each) for row, each in enumerate(rules) if each and len(each.bias_ids)]
    if biased:
        places = _places(scores, [(row, each.bias_ids) for row, each in biased])
        values = torch.from_numpy(np.concatenate([each.biases for _, each in biased])).to(scores.device)
        flat = scores.view(-1)
        flat[places] = flat[places] + values


def _ban(scores: Tensor, rules: Sequence[Rules | None]) -> None:
    banned = [(row, np.asarray(each.banned(), dtype=np.int64)) for row, each in enumerate(rules) if each]
    if banned:
        scores.view(-1)[_places(scores, banned)] = float("-inf")


def _penalize(scores: Tensor, rules: Sequence[Rules | None]) -> None:
    penalized = [(row, each.counts, each.sampling) for row, each in enumerate(rules) if each and each.counts]
    if not penalized:
        return
    places = _places(scores, [(row, counts.ids) for row, counts, _ in penalized])
    generated = torch.from_numpy(np.concatenate([counts.generated for _, counts, _ in penalized])).to(scores.device)
    options = [(each.repetition_penalty, each.frequency_penalty, each.presence_penalty) for _, _, each in penalized]
    lengths = torch.tensor([len(counts.ids) for _, counts, _ in penalized])
    columns = torch.tensor(options, dtype=scores.dtype).repeat_interleave(lengths, dim=0).to(scores.device)
    repetition, frequency, presence = columns.unbind(1)
    flat = scores.view(-1)
    x = flat[places]
    x = torch.where(x > 0, x / repetition, x * repetition)
    x = x - frequency * generated
    flat[places] = x - presence * (generated > 0)


def _places(scores: Tensor, ids: Sequence[tuple[int, np.typing.NDArray[np.int64]]]) -> Tensor:
    """Where tokens of rows are in the flat scores, [all of them]."""
    vocab = scores.shape[1]
    return torch.from_numpy(np.concatenate([row * vocab + each for row, each in ids])).to(scores.device)
