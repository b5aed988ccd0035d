"""From an OFT adapter's numbers to its rotations, as PEFT's layers compute them in every forward.

q and R are [blocks, size, size], q skew-symmetric.
"""

from __future__ import annotations

from math import isqrt

import torch
from torch import Tensor


def skew_symmetric(numbers: Tensor) -> Tensor:
    """Q with `numbers` [blocks, size (size - 1) / 2] above its diagonal, row by row, and -Q^T = Q."""
    blocks, count = numbers.shape
    size = (1 + isqrt(1 + 8 * count)) // 2
    upper = numbers.new_zeros(blocks, size, size)
    rows, columns = torch.triu_indices(size, size, 1, device=numbers.device)
    upper[:, rows, columns] = numbers
    return upper - upper.mT


def shrunk(q: Tensor, eps: float) -> Tensor:
    """COFT: each Q scaled down to a norm of eps / sqrt(blocks), where it is larger."""
    longest = eps / len(q) ** 0.5
    norms = torch.linalg.matrix_norm(q, keepdim=True)
    return torch.where(norms <= longest, q, q * (longest / norms))


def cayley(q: Tensor) -> Tensor:
    """R = (I - Q)(I + Q)^-1, orthogonal."""
    identity = torch.eye(q.shape[-1], dtype=q.dtype, device=q.device)
    result: Tensor = torch.linalg.solve(identity + q, identity - q, left=False)
    return result


def neumann(q: Tensor, terms: int) -> Tensor:
    """R = I + 2 Q + .. + 2 Q^(n-2) + Q^(n-1) for n terms; PEFT takes 3 for 4, and for 2 it is I + 2 Q."""
    result = torch.eye(q.shape[-1], dtype=q.dtype, device=q.device) + 2 * q
    if terms > 2:
        power = q
        for _ in range(2, max(terms, 4) - 1):
            power = power @ q
            result = result + 2 * power
        result = result + power @ q
    return result
