"""What many adapters do to their rows at modules, as the kernels take it.

    x[i] = front * x[i]                                     before the module
    y[i] = scale * y[i] + B f(A z[i] + bias) + shift        behind it; z[i] is x[i] or y[i]

All of them are the adapter's own whose segment row i is in.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping, Sequence
from ctypes import Structure, c_int, c_long, c_void_p
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from adapterhub.op import Activation, Bottleneck, LowRank, Scale
from adapterhub.ops.pages import packed

KernelOp = LowRank | Bottleneck | Scale
"""What the kernels compute."""

LANES = 16
"""Columns of a tile."""
KINDS = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
ACTIVATIONS: dict[Activation, int] = {"relu": 1, "silu": 2, "gelu": 3, "gelu_tanh": 4}


class UpdateStruct(Structure):
    _fields_ = (
        ("a", c_void_p),
        ("b", c_void_p),
        ("bias", c_void_p),
        ("scale", c_void_p),
        ("shift", c_void_p),
        ("front", c_void_p),
        ("rank", c_long),
        ("a_kind", c_int),
        ("b_kind", c_int),
        ("activation", c_int),
        ("reads_output", c_int),
    )


@dataclass(frozen=True, eq=False)
class Update:
    """One module's op as the kernels read it."""

    a: Tensor | None = None
    """[in * rank], in tiles of 16 columns: [in / 16, rank, 16] and [rank, in % 16] behind them."""
    b: Tensor | None = None
    """[out * rank], transposed, likewise."""
    bias: Tensor | None = None
    scale: Tensor | None = None
    shift: Tensor | None = None
    front: Tensor | None = None
    rank: int = 0
    activation: int = 0
    reads_output: bool = False

    @classmethod
    def of(cls, op: KernelOp, *, float16: bool) -> Self:
        """A and B whose every value is one of 16 bits are kept so: to the bit the same op in half the memory.

        `float16` says whether the kernels read float16 too.
        """
        if isinstance(op, Scale):
            return cls(front=_float32(op.into), scale=_float32(op.behind))
        a, b = (_narrow(_tiled(each.float()), float16) for each in (op.a, op.b.T))
        if isinstance(op, LowRank):
            return cls(a, b, scale=_float32(op.scale), shift=_float32(op.shift), rank=len(op.a))
        activation = ACTIVATIONS[op.activation]
        bias, shift = _float32(op.bias), _float32(op.shift)
        return cls(a, b, bias, None, shift, None, len(op.a), activation, op.reads_output)

    def named(self) -> dict[str, Tensor]:
        """Its tensors, in the order they are read."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    def tensors(self) -> Iterable[Tensor]:
        return self.named().values()

    def struct(self) -> UpdateStruct:
        struct = UpdateStruct(rank=self.rank, activation=self.activation, reads_output=self.reads_output)
        for name, tensor in self.named().items():
            setattr(struct, name, tensor.data_ptr())
        if self.a is not None and self.b is not None:
            struct.a_kind, struct.b_kind = KINDS[self.a.dtype], KINDS[self.b.dtype]
        return struct


class SegmentStruct(Structure):
    _fields_ = (("updates", c_void_p), ("start", c_long), ("stop", c_long))


class PlaceStruct(Structure):
    _fields_ = (("module", c_long), ("in_", c_long), ("out", c_long), ("x", c_void_p), ("y", c_void_p))


class Updates(NamedTuple):
    """One adapter's updates, by the index of their module."""

    structs: ctypes.Array[UpdateStruct]
    """All zeros where it has none."""
    kept: tuple[Update, ...]
    """What the addresses in them point to."""

    @classmethod
    def of(cls, updates: Mapping[int, Update], modules: int) -> Self:
        """`updates` of an adapter on a base of so many modules."""
        structs = (UpdateStruct * modules)()
        for index, update in updates.items():
            structs[index] = update.struct()
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


def in_one_piece(updates: Mapping[str, Update]) -> dict[str, Update]:
    """The same updates, their tensors in one piece of memory in the order they are read."""
    names = [(key, name) for key, update in updates.items() for name in update.named()]
    moved = packed([tensor for update in updates.values() for tensor in update.tensors()])
    parts: dict[str, dict[str, Any]] = {key: {} for key in updates}
    for (key, name), tensor in zip(names, moved, strict=True):
        parts[key][name] = tensor
    return {key: replace(update, **parts[key]) for key, update in updates.items()}


def _tiled(tensor: Tensor) -> Tensor:
    """[r, width] -> [width * r] in tiles of 16 columns, what is left behind them."""
    whole = tensor.shape[1] // LANES * LANES
    tiles = tensor[:, :whole].reshape(len(tensor), whole // LANES, LANES).transpose(0, 1)
    return torch.cat([tiles.flatten(), tensor[:, whole:].flatten()])


def _narrow(tensor: Tensor, float16: bool) -> Tensor:
    """In 16 bits, if no value changes. On the meta device, where nothing has a value, as it is."""
    if tensor.is_meta:
        return tensor
    for dtype in (torch.bfloat16, torch.float16) if float16 else (torch.bfloat16,):
        narrow = tensor.to(dtype)
        if torch.equal(narrow.float(), tensor):
            return narrow
    return tensor


def _float32(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.float().contiguous()
