"""DoRA's norms, without the full product of B and A.

Source: Liu et al. 2024, "DoRA: Weight-Decomposed Low-Rank Adaptation" (arXiv:2402.09353).
"""

from __future__ import annotations

import torch
from torch import Tensor

ROWS = 1024
"""Rows of a weight that are held in fp64 at a time."""
CANCELLED = 1e-6
"""Below this share of the weight's own, a squared norm has lost the digits that count: it is taken directly."""


def row_norms(squares: Tensor, weight: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """n[o] = |W[o] + B[o] A|: squares[o] + 2 B[o] . (A W[o]) + B[o] (A A^T) B[o]^T, and its root.

    squares: [out] fp64, |W[o]|^2; weight: [out, in]; a: [r, in]; b: [out, r] with the scaling in it.
    Result: [out] fp64. On the meta device, where nothing has a value, nothing is lost either.
    """
    a = a.double()
    gram = a @ a.T
    parts = []
    for start in range(0, len(weight), ROWS):
        rows = slice(start, start + ROWS)
        own, up = weight[rows].double(), b[rows].double()
        found = squares[rows] + ((2 * own @ a.T + up @ gram) * up).sum(dim=1)
        lost = found < CANCELLED * squares[rows]
        if not lost.is_meta and bool(lost.any()):
            found[lost] = (own[lost] + up[lost] @ a).square().sum(dim=1)
        parts.append(found.sqrt())
    return torch.cat(parts)
