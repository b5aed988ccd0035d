"""Keys and values of all sequences: two preallocated tensors per layer.

A *place* is one position's row in them. The kernels read a block's keys side by side and its values one behind the
other, so where they compute keys lie as `[blocks, kv_heads, head_dim, 16]` and values as
`[blocks, kv_heads, 16, head_dim]`; elsewhere both as `[places, kv_heads, head_dim]`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from adapterhub.engine.block_table import BLOCK_TOKENS
from adapterhub.method import BaseShape
from adapterhub.ops import Layer, pages


class KVCache:
    """Owns the cache tensors."""

    def __init__(
        self,
        shape: BaseShape,
        num_blocks: int,
        *,
        dtype: torch.dtype,
        device: torch.device,
        native: bool = False,
        spare: bool = False,
    ) -> None:
        """With `spare`, there is one more block."""
        self.native = native
        """Whether they lie as the kernels read them."""
        self.spare = num_blocks * BLOCK_TOKENS
        """A place that no sequence has, for rows that are only padding; where there is a spare block."""
        num_blocks += spare
        heads, dim = shape.num_kv_heads, shape.head_dim
        keys = values = (num_blocks * BLOCK_TOKENS, heads, dim)
        if native:
            keys, values = (num_blocks, heads, dim, BLOCK_TOKENS), (num_blocks, heads, BLOCK_TOKENS, dim)  # type: ignore[assignment]
        self.keys = [_zeros(keys, dtype, device) for _ in range(shape.num_layers)]
        self.values = [_zeros(values, dtype, device) for _ in range(shape.num_layers)]

    def close(self) -> None:
        """Free its memory, whoever still refers to it."""
        self.keys.clear()
        self.values.clear()

    def layer(self, index: int) -> Layer:
        """A layer's tensors for the kernels."""
        return Layer(self.keys[index], self.values[index])

    def write(self, layer: int, places: Tensor, keys: Tensor, values: Tensor) -> None:
        """Store rows. `places`: [rows]; `keys`, `values`: [rows, kv_heads, head_dim]."""
        if self.native:
            block, offset = places // BLOCK_TOKENS, places % BLOCK_TOKENS
            self.keys[layer][block, :, :, offset] = keys
            self.values[layer][block, :, offset] = values
        else:
            self.keys[layer].index_copy_(0, places, keys)
            self.values[layer].index_copy_(0, places, values)

    def read(self, layer: int, places: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values at `places`, of any shape: [*places, kv_heads, head_dim] each."""
        if self.native:
            block, offset = places // BLOCK_TOKENS, places % BLOCK_TOKENS
            return self.keys[layer][block, :, :, offset], self.values[layer][block, :, offset]
        return self.keys[layer][places], self.values[layer][places]

    def write_all(self, places: Tensor, kv: Tensor) -> None:
        """Store rows of every layer. `places`: [n]; `kv`: [layers, 2, kv_heads, n, head_dim]."""
        for layer, (keys, values) in enumerate(kv.transpose(2, 3)):
            self.write(layer, places, keys, values)

    def read_all(self, places: Tensor) -> Tensor:
        """Rows of every layer, [layers, 2, kv_heads, n, head_dim]."""
        layers = [torch.stack(self.read(layer, places)).transpose(1, 2) for layer in range(len(self.keys))]
        return torch.stack(layers)


def _zeros(size: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """On the CPU of pages that the system gives at their first write: room for gigabytes is there at once."""
    if device.type != "cpu":
        return torch.zeros(size, dtype=dtype, device=device)
    return pages(math.prod(size) * dtype.itemsize).view(dtype).view(size)
