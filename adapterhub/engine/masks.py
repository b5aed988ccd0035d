"""Which tokens the structures of a step's rows allow."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from adapterhub.structure.matcher import Matcher

WORD = 32
"""Bits of a mask come in words of so many."""


def allowed_tokens(matchers: Sequence[Matcher | None], vocab: int) -> dict[int, Tensor]:
    """For each row that has a matcher, which tokens may come next: row -> bool [vocab], on the CPU.

    A token beyond the matcher's own vocabulary never may.
    """
    rows = [row for row, matcher in enumerate(matchers) if matcher is not None]
    if not rows:
        return {}
    words = torch.zeros(len(rows), -(-vocab // WORD), dtype=torch.int32)
    address, size = words.data_ptr(), words.shape[1] * words.element_size()
    for index, row in enumerate(rows):
        matcher = matchers[row]
        assert matcher is not None
        matcher.fill(address + index * size, size)
    bits = torch.arange(8, dtype=torch.uint8)
    allowed = (words.view(torch.uint8).unsqueeze(-1) >> bits & 1).bool().flatten(1)[:, :vocab]
    return dict(zip(rows, allowed, strict=True))
