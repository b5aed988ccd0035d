"""What many adapters do to their rows at modules, as the kernels take it.

    x[i] = front * x[i]                                     before the module
    y[i] = scale * y[i] + B f(A z[i] + bias) + shift        behind it; z[i] is x[i] or y[i]

All of them are the adapter's own whose segment row i is in.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping, Sequence
from ctypes import Structure, c_int, c_long, c_void_p
from dataclasses import dataclass
from typing import Any, NamedTuple, Self, TypeVar

import torch
from torch import Tensor

from adapterhub.op import Activation, Bottleneck, LowRank, Scale
from adapterhub.ops.pages import Room

K = TypeVar("K")
KernelOp = LowRank | Bottleneck | Scale
"""What the kernels compute."""
Place = tuple[int, Tensor, Tensor]
"""A module's index, its input [rows, in] and its output [rows, out], which is written; both contiguous."""

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
    """[in * rank]: [rank, in], or in tiles of 16 columns, [in / 16, rank, 16] and [rank, in % 16] behind them."""
    b: Tensor | None = None
    """[out * rank], transposed, likewise."""
    bias: Tensor | None = None
    scale: Tensor | None = None
    shift: Tensor | None = None
    front: Tensor | None = None
    rank: int = 0
    activation: int = 0
    reads_output: bool = False

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

    table: Tensor
    """`UpdateStruct` of every module, where the kernels run; all zeros where it has none."""
    kept: tuple[Update, ...]
    """What the addresses in it point to."""
    rank: int
    """The highest."""
    reads_output: bool
    """Whether one reads its module's output."""

    @classmethod
    def of(cls, updates: Mapping[int, Update], modules: int, device: torch.device | None = None) -> Self:
        """`updates` of an adapter on a base of so many modules."""
        structs = (UpdateStruct * modules)()
        for index, update in updates.items():
            structs[index] = update.struct()
        kept = tuple(updates.values())
        table = torch.frombuffer(structs, dtype=torch.uint8).to(device or "cpu")
        return cls(table, kept, max(update.rank for update in kept), any(update.reads_output for update in kept))


Run = tuple[Updates, int, int]
"""Rows of one adapter: its updates, the first row, and the row behind the last."""


class Segments(NamedTuple):
    """Runs of rows of one adapter."""

    structs: ctypes.Array[SegmentStruct]
    kept: tuple[Updates, ...]

    @classmethod
    def of(cls, runs: Sequence[Run]) -> Self:
        rows = (SegmentStruct(updates.table.data_ptr(), start, stop) for updates, start, stop in runs)
        structs = (SegmentStruct * len(runs))(*rows)
        return cls(structs, tuple(updates for updates, _, _ in runs))

    @property
    def size(self) -> int:
        return len(self.kept)


class Places(NamedTuple):
    """Modules whose updates are computed in one call."""

    structs: ctypes.Array[PlaceStruct]
    kept: tuple[Place, ...]

    @classmethod
    def of(cls, places: Sequence[Place]) -> Self:
        rows = (PlaceStruct(index, x.shape[-1], y.shape[-1], x.data_ptr(), y.data_ptr()) for index, x, y in places)
        return cls((PlaceStruct * len(places))(*rows), tuple(places))

    @property
    def size(self) -> int:
        return len(self.kept)


def updates_of(ops: Mapping[K, KernelOp], *, float16: bool, tiled: bool = True) -> dict[K, Update]:
    """The ops as the kernels read them, in one piece of memory in the order they are read; it copies each number once.

    A and B whose every value is one of 16 bits are kept so: to the bit the same op in half the memory. `float16` says
    whether the kernels read float16 too, `tiled` whether they read A and B in tiles.
    """
    numbers = {(key, name): tensor for key, op in ops.items() for name, tensor in numbers_of(op).items()}
    dtypes = {
        place: _width(tensor, float16) if place[1] in ("a", "b") else torch.float32 for place, tensor in numbers.items()
    }
    room = Room()
    for place, tensor in numbers.items():
        room.add(tensor, dtypes[place])
    placed = {place: room.fill(tensor, dtypes[place], _tiles if tiled else _whole) for place, tensor in numbers.items()}
    return {key: update_of(op, {name: placed[key, name] for name in numbers_of(op)}) for key, op in ops.items()}


def numbers_of(op: KernelOp) -> dict[str, Tensor]:
    """Its tensors by their names in `Update`; A and B as [rank, width]."""
    if isinstance(op, Scale):
        named = {"front": op.into, "scale": op.behind}
    elif isinstance(op, LowRank):
        named = {"a": op.a, "b": op.b.T, "scale": op.scale, "shift": op.shift}
    else:
        named = {"a": op.a, "b": op.b.T, "bias": op.bias, "shift": op.shift}
    return {name: tensor for name, tensor in named.items() if tensor is not None}


def update_of(op: KernelOp, tensors: Mapping[str, Tensor]) -> Update:
    """An op whose numbers, as `numbers_of` names them, are where the kernels read them."""
    named: dict[str, Any] = dict(tensors)
    if isinstance(op, LowRank | Bottleneck):
        named["rank"] = len(op.a)
    if isinstance(op, Bottleneck):
        named |= {"activation": ACTIVATIONS[op.activation], "reads_output": op.reads_output}
    return Update(**named)


def _whole(tensor: Tensor) -> list[Tensor]:
    return [tensor]


def _tiles(tensor: Tensor) -> list[Tensor]:
    """What lies one behind the other of [r, width]: whole tiles of 16 columns, and the columns that are left."""
    if tensor.dim() == 1:
        return [tensor]
    rank, width = tensor.shape
    whole = width // LANES * LANES
    return [tensor[:, :whole].reshape(rank, whole // LANES, LANES).transpose(0, 1), tensor[:, whole:]]


def _width(tensor: Tensor, float16: bool) -> torch.dtype:
    """The narrowest that changes no value; fp32 on the meta device, where nothing has a value."""
    for dtype in (torch.bfloat16, torch.float16) if float16 else (torch.bfloat16,):
        if tensor.is_meta or not tensor.numel():
            break
        if all(torch.equal(part.to(dtype).to(part.dtype), part) for part in (tensor[0], tensor)):
            return dtype
    return torch.float32
