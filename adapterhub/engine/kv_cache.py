"""Keys and values of all sequences: one preallocated tensor per layer, handed out in blocks."""

from __future__ import annotations

import torch
from torch import Tensor

from adapterhub.method import BaseShape

BLOCK_TOKENS = 16
"""Positions per block."""


class KVCache:
    """Owns the cache tensors and the table of which sequence holds which blocks.

    Layout per layer: `[blocks * BLOCK_TOKENS, kv_heads, head_dim]`; a *place* is an index into its
    first dimension. A sequence holds enough blocks for its last token from the moment it is
    admitted, so a running sequence never has to wait for memory.
    """

    def __init__(self, shape: BaseShape, tokens: int, *, dtype: torch.dtype, device: torch.device) -> None:
        self.num_blocks = max(1, tokens // BLOCK_TOKENS)
        size = (self.num_blocks * BLOCK_TOKENS, shape.num_kv_heads, shape.head_dim)
        self.keys = [torch.zeros(size, dtype=dtype, device=device) for _ in range(shape.num_layers)]
        self.values = [torch.zeros(size, dtype=dtype, device=device) for _ in range(shape.num_layers)]
        self._free = list(range(self.num_blocks))
        self._held: dict[int, list[int]] = {}

    @property
    def capacity(self) -> int:
        """Positions in all."""
        return self.num_blocks * BLOCK_TOKENS

    @property
    def free(self) -> int:
        """Positions in blocks that nobody holds."""
        return len(self._free) * BLOCK_TOKENS

    def can_allocate(self, tokens: int) -> bool:
        return _blocks_for(tokens) <= len(self._free)

    def allocate(self, sequence_id: int, tokens: int) -> Tensor:
        """Give a sequence blocks for `tokens` positions. Returns the places of its positions, `[>= tokens]`."""
        assert sequence_id not in self._held
        assert self.can_allocate(tokens)
        blocks = [self._free.pop() for _ in range(_blocks_for(tokens))]
        self._held[sequence_id] = blocks
        device = self.keys[0].device
        first = torch.tensor(blocks, device=device).unsqueeze(1) * BLOCK_TOKENS
        return (first + torch.arange(BLOCK_TOKENS, device=device)).flatten()

    def release(self, sequence_id: int) -> None:
        """Take a sequence's blocks back; nothing happens when it holds none."""
        self._free += self._held.pop(sequence_id, [])

    def write(self, layer: int, places: Tensor, keys: Tensor, values: Tensor) -> None:
        """Store rows. `places`: [rows]; `keys`, `values`: [rows, kv_heads, head_dim]."""
        self.keys[layer].index_copy_(0, places, keys)
        self.values[layer].index_copy_(0, places, values)

    def write_all(self, places: Tensor, kv: Tensor) -> None:
        """Store rows of every layer. `places`: [n]; `kv`: [layers, 2, kv_heads, n, head_dim]."""
        for layer, (keys, values) in enumerate(kv.transpose(2, 3)):
            self.write(layer, places, keys, values)

    def check_integrity(self) -> None:
        """Every block is free or held by exactly one sequence."""
        blocks = sorted([*self._free, *(block for held in self._held.values() for block in held)])
        assert blocks == list(range(self.num_blocks)), "KV blocks were lost or are held twice"


def _blocks_for(tokens: int) -> int:
    return -(-tokens // BLOCK_TOKENS)
