"""Low-rank updates of rows of many adapters, as the kernel takes them.

y[i] = scale * y[i] + B (A x[i]) + shift      A, B, scale and shift of the adapter whose segment row i is in
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from ctypes import Structure, c_long, c_void_p
from typing import NamedTuple, Self

import torch
from torch import Tensor

from adapterhub.op import LowRank


class UpdateStruct(Structure):
    _fields_ = (("a", c_void_p), ("b", c_void_p), ("scale", c_void_p), ("shift", c_void_p), ("rank", c_long))


class SegmentStruct(Structure):
    _fields_ = (("updates", c_void_p), ("start", c_long), ("stop", c_long))


class PlaceStruct(Structure):
    _fields_ = (("module", c_long), ("in_", c_long), ("out", c_long), ("x", c_void_p), ("y", c_void_p))


class Updates(NamedTuple):
    """One adapter's updates, by the index of their module."""

    structs: ctypes.Array[UpdateStruct]
    """Rank 0 where it has none."""
    kept: tuple[LowRank, ...]
    """What the addresses in them point to."""

    @classmethod
    def of(cls, updates: Mapping[int, LowRank], modules: int) -> Self:
        """`updates`, each made by `as_rows`, of an adapter on a base of so many modules."""
        structs = (UpdateStruct * modules)()
        for index, op in updates.items():
            structs[index] = UpdateStruct(
                op.a.data_ptr(), op.b.data_ptr(), _address(op.scale), _address(op.shift), len(op.a)
            )
        return cls(structs, tuple(updates.values()))


class Segments(NamedTuple):
    """Runs of rows of one adapter."""

    structs: ctypes.Array[SegmentStruct]
    kept: tuple[Updates, ...]

    @classmethod
    def of(cls, segments: Sequence[tuple[Updates, int, int]]) -> Self:
        """From each run's updates, first row, and the row behind its last."""
        rows = (SegmentStruct(ctypes.addressof(updates.structs), start, stop) for updates, start, stop in segments)
        structs = (SegmentStruct * len(segments))(*rows)
        return cls(structs, tuple(updates for updates, _, _ in segments))

    @property
    def size(self) -> int:
        return len(self.kept)


class Places(NamedTuple):
    """Modules whose updates are computed in one call."""

    structs: ctypes.Array[PlaceStruct]
    kept: tuple[tuple[int, Tensor, Tensor], ...]

    @classmethod
    def of(cls, *places: tuple[int, Tensor, Tensor]) -> Self:
        """From each module's index, input [rows, in] and output [rows, out], which is written."""
        rows = (PlaceStruct(index, x.shape[-1], y.shape[-1], x.data_ptr(), y.data_ptr()) for index, x, y in places)
        return cls((PlaceStruct * len(places))(*rows), places)

    @property
    def size(self) -> int:
        return len(self.kept)


def as_rows(op: LowRank, dtype: torch.dtype) -> LowRank:
    """The same update in `dtype`, laid out as the kernel reads it: B's columns one behind the other."""
    b = op.b.to(dtype).T.contiguous().T
    others = (None if tensor is None else tensor.to(dtype).contiguous() for tensor in (op.scale, op.shift))
    return LowRank(op.a.to(dtype).contiguous(), b, *others)


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
