"""Which tokens the structures of a step's rows allow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
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
    masks = np.zeros((len(rows), -(-vocab // WORD) * WORD // 8), dtype=np.uint8)
    address, size = masks.ctypes.data, masks.shape[1]
    for index, row in enumerate(rows):
        matcher = matchers[row]
        assert matcher is not None
        matcher.fill(address + index * size, size)
    bits = np.unpackbits(masks, axis=1, count=vocab, bitorder="little")  # five times as fast as torch can
    allowed = torch.from_numpy(bits).view(torch.bool)
    return dict(zip(rows, allowed, strict=True))
