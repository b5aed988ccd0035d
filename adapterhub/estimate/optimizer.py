"""What AdamW holds for each tensor that is trained."""

from __future__ import annotations

from collections.abc import Iterable

STATES = 2
"""Running means of a gradient and of its square."""
FP32 = 4
BLOCK = 256
"""8-bit values that share an fp32 scale."""
SMALLEST = 4096
"""Tensors with fewer values keep fp32 states (`min_8bit_size` of bitsandbytes)."""
TABLES = 2 * 256 * FP32
"""What the 8-bit values mean, signed and unsigned; one for all tensors."""


def adamw_bytes(sizes: Iterable[int]) -> int:
    """Bytes of the states of tensors with so many values each: fp32, two for each value."""
    return STATES * FP32 * sum(sizes)


def adamw_8bit_bytes(sizes: Iterable[int]) -> int:
    """The same for the block-wise 8-bit AdamW of bitsandbytes.

    Source: Dettmers et al. 2021, "8-bit Optimizers via Block-wise Quantization" (arXiv:2110.02861).
    """
    sizes = list(sizes)
    large = [size for size in sizes if size >= SMALLEST]
    small = adamw_bytes(size for size in sizes if size < SMALLEST)
    return small + STATES * sum(size + FP32 * -(-size // BLOCK) for size in large) + (TABLES if large else 0)
