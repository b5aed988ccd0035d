"""Memory in large pages, where the system has them.

A step reads every weight, adapter and key once, from all over the memory. In pages of 4 KiB much of the time goes into
finding them: with two threads a processor of two cores read 61 GB/s from large pages, 40 GB/s from small ones.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

LARGE = 2 << 20
"""Bytes of a large page."""


def pages(nbytes: int) -> Tensor:
    """uint8 [nbytes] of zeros. The system gives the memory where it is first written, and no more than this.

    It begins at a large page; what does not fill one at the end is in small ones.
    """
    if nbytes < LARGE:
        return torch.zeros(nbytes, dtype=torch.uint8)
    mapped = mmap.mmap(-1, nbytes + LARGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    start = -torch.frombuffer(mapped, dtype=torch.uint8).data_ptr() % LARGE
    if hasattr(mmap, "MADV_HUGEPAGE"):
        mapped.madvise(mmap.MADV_HUGEPAGE, start, nbytes // LARGE * LARGE)
    return torch.frombuffer(mapped, dtype=torch.uint8, count=nbytes, offset=start)


def packed(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The same CPU tensors, contiguous, one behind the other in one piece of memory; what is given twice is one."""
    room = Room()
    for tensor in tensors:
        room.add(tensor, tensor.dtype)
    return [room.fill(tensor, tensor.dtype).view(tensor.shape) for tensor in tensors]


class Room:
    """One piece of memory for many tensors: each is added, then each is filled in."""

    def __init__(self) -> None:
        self._starts: dict[object, int] = {}
        self._filled: dict[object, Tensor] = {}
        self._size = 0
        self._memory: Tensor | None = None

    def add(self, tensor: Tensor, dtype: torch.dtype) -> None:
        """Keep room for a tensor in `dtype`, behind those that were added before."""
        if (key := _identity(tensor, dtype)) not in self._starts:
            start = -(-self._size // dtype.itemsize) * dtype.itemsize
            self._starts[key] = start
            self._size = start + tensor.numel() * dtype.itemsize

    def fill(
        self, tensor: Tensor, dtype: torch.dtype, parts: Callable[[Tensor], list[Tensor]] = lambda tensor: [tensor]
    ) -> Tensor:
        """Its numbers there, [numel]: those of `parts` one behind the other."""
        if (key := _identity(tensor, dtype)) in self._filled:
            return self._filled[key]
        if self._memory is None:
            own = tensor.is_cpu
            self._memory = pages(self._size) if own else tensor.new_empty(self._size, dtype=torch.uint8)
        start = self._starts[key]
        place = self._memory[start : start + tensor.numel() * dtype.itemsize].view(dtype)
        at = 0
        for part in parts(tensor):
            place[at : at + part.numel()].view(part.shape).copy_(part)
            at += part.numel()
        self._filled[key] = place
        return place


def _identity(tensor: Tensor, dtype: torch.dtype) -> object:
    """Of its content. On the meta device, where nothing has an address, each stands for itself."""
    address = id(tensor) if tensor.is_meta else tensor.data_ptr()
    return (address, dtype, tensor.shape, tensor.stride())
