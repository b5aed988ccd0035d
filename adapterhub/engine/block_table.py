"""One sequence's blocks, in the order of its positions."""

from __future__ import annotations

import torch
from torch import Tensor

from adapterhub.engine.block_pool import BlockPool

BLOCK_TOKENS = 16
"""Positions per block."""


class BlockTable:
    """Grows with its sequence. A *place* is where a position lives in a layer's cache."""

    def __init__(self, pool: BlockPool, max_tokens: int, device: torch.device) -> None:
        self._pool = pool
        self._blocks: list[int] = []
        self._places = torch.empty(blocks_for(max_tokens) * BLOCK_TOKENS, dtype=torch.long, device=device)

    @property
    def capacity(self) -> int:
        """Positions that have a place."""
        return len(self._blocks) * BLOCK_TOKENS

    def places(self, start: int, stop: int) -> Tensor:
        """Where positions `start` to `stop` live: [stop - start]."""
        assert stop <= self.capacity
        return self._places[start:stop]

    def share(self, blocks: list[int]) -> None:
        """Begin with blocks whose content is there already."""
        for block in blocks:
            self._pool.hold(block)
            self._append(block)

    def grow(self, tokens: int) -> bool:
        """Take blocks until `tokens` positions have a place; takes none when there are too few."""
        missing = blocks_for(tokens) - len(self._blocks)
        if missing > self._pool.available:
            return False
        for _ in range(missing):
            self._append(self._pool.take())
        return True

    def remember(self, first: int, keys: list[bytes]) -> None:
        """Offer the full blocks from index `first` on for reuse, under these keys."""
        for block, key in zip(self._blocks[first:], keys, strict=False):
            self._pool.remember(block, key)

    def release(self) -> None:
        """Let go of all blocks. The last ones first, so that the front of a prompt is kept longest."""
        for block in reversed(self._blocks):
            self._pool.release(block)
        self._blocks.clear()

    def _append(self, block: int) -> None:
        start = len(self._blocks) * BLOCK_TOKENS
        first = block * BLOCK_TOKENS
        torch.arange(first, first + BLOCK_TOKENS, out=self._places[start : start + BLOCK_TOKENS])
        self._blocks.append(block)


def blocks_for(tokens: int) -> int:
    """Blocks that `tokens` positions need."""
    return -(-tokens // BLOCK_TOKENS)
