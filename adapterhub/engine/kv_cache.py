"""Keys and values of all sequences: one preallocated tensor per layer."""

from __future__ import annotations

import math
import mmap

import torch
from torch import Tensor

from adapterhub.engine.block_table import BLOCK_TOKENS
from adapterhub.method import BaseShape


class KVCache:
    """Owns the cache tensors, per layer `[places, kv_heads, head_dim]`."""

    def __init__(self, shape: BaseShape, num_blocks: int, *, dtype: torch.dtype, device: torch.device) -> None:
        size = (num_blocks * BLOCK_TOKENS, shape.num_kv_heads, shape.head_dim)
        self.keys = [_zeros(size, dtype, device) for _ in range(shape.num_layers)]
        self.values = [_zeros(size, dtype, device) for _ in range(shape.num_layers)]

    def write(self, layer: int, places: Tensor, keys: Tensor, values: Tensor) -> None:
        """Store rows. `places`: [rows]; `keys`, `values`: [rows, kv_heads, head_dim]."""
        self.keys[layer].index_copy_(0, places, keys)
        self.values[layer].index_copy_(0, places, values)

    def write_all(self, places: Tensor, kv: Tensor) -> None:
        """Store rows of every layer. `places`: [n]; `kv`: [layers, 2, kv_heads, n, head_dim]."""
        for layer, (keys, values) in enumerate(kv.transpose(2, 3)):
            self.write(layer, places, keys, values)

    def read_all(self, places: Tensor) -> Tensor:
        """Rows of every layer, [layers, 2, kv_heads, n, head_dim]."""
        layers = zip(self.keys, self.values, strict=True)
        return torch.stack([torch.stack((k[places], v[places])).transpose(1, 2) for k, v in layers])


def _zeros(size: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """On the CPU of pages that the system gives at their first write: room for gigabytes is there at once."""
    if device.type != "cpu":
        return torch.zeros(size, dtype=dtype, device=device)
    pages = mmap.mmap(-1, math.prod(size) * dtype.itemsize, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return torch.frombuffer(pages, dtype=dtype).view(size)
