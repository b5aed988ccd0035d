"""What many adapters do to their rows at modules, as the kernels take it.

    x[i] = front * x[i]                                     before the module
    y[i] = scale * y[i] + B f(A z[i] + bias) + shift        behind it; z[i] is x[i] or y[i]

All of them are the adapter's own whose segment row i is in.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from ctypes import Structure, c_int, c_long, c_void_p
from dataclasses import replace
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from adapterhub.op import Activation, Bottleneck, LowRank, Scale
from adapterhub.ops.pages import packed

KernelOp = LowRank | Bottleneck | Scale
"""What the kernels compute."""

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

    @classmethod
    def of(cls, op: KernelOp) -> Self:
        """`op` made by `as_rows`."""
        if isinstance(op, Scale):
            return cls(front=_address(op.into), scale=_address(op.behind))
        struct = cls(
            a=op.a.data_ptr(), b=op.b.data_ptr(), rank=len(op.a), a_kind=KINDS[op.a.dtype], b_kind=KINDS[op.b.dtype]
        )
        struct.shift = _address(op.shift)
        if isinstance(op, LowRank):
            struct.scale = _address(op.scale)
        else:
            struct.bias, struct.activation = op.bias.data_ptr(), ACTIVATIONS[op.activation]
            struct.reads_output = op.reads_output
        return struct


class SegmentStruct(Structure):
    _fields_ = (("updates", c_void_p), ("start", c_long), ("stop", c_long))


class PlaceStruct(Structure):
    _fields_ = (("module", c_long), ("in_", c_long), ("out", c_long), ("x", c_void_p), ("y", c_void_p))


class Updates(NamedTuple):
    """One adapter's updates, by the index of their module."""

    structs: ctypes.Array[UpdateStruct]
    """All zeros where it has none."""
    kept: tuple[KernelOp, ...]
    """What the addresses in them point to."""

    @classmethod
    def of(cls, updates: Mapping[int, KernelOp], modules: int) -> Self:
        """`updates`, each made by `as_rows`, of an adapter on a base of so many modules."""
        structs = (UpdateStruct * modules)()
        for index, op in updates.items():
            structs[index] = UpdateStruct.of(op)
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


def as_rows(op: KernelOp, *, float16: bool) -> KernelOp:
    """The same op laid out as the kernels read it: fp32, B's columns one behind the other.

    A and B whose every value is one of 16 bits are kept so: to the bit the same op in half the memory. `float16` says
    whether the kernels read float16 too.
    """

    def laid_out(name: str, tensor: Tensor) -> Tensor:
        exact = tensor.float().contiguous()
        return _narrow(exact, float16) if name in ("a", "b") else exact

    return _with(op, {name: laid_out(name, tensor) for name, tensor in _stored(op).items()})


def in_one_piece(ops: Mapping[str, KernelOp]) -> dict[str, KernelOp]:
    """The same ops, each made by `as_rows`, their tensors in one piece of memory in the order they are read."""
    names = [(key, name) for key, op in ops.items() for name in _stored(op)]
    moved = packed([tensor for op in ops.values() for tensor in _stored(op).values()])
    parts: dict[str, dict[str, Tensor]] = {key: {} for key in ops}
    for (key, name), tensor in zip(names, moved, strict=True):
        parts[key][name] = tensor
    return {key: _with(op, parts[key]) for key, op in ops.items()}


def _stored(op: KernelOp) -> dict[str, Tensor]:
    """Its tensors as they lie in memory: B's columns are rows there."""
    named = {name: value for name, value in vars(op).items() if isinstance(value, Tensor)}
    return {name: tensor.T if name == "b" else tensor for name, tensor in named.items()}


def _with(op: KernelOp, stored: Mapping[str, Tensor]) -> KernelOp:
    """The op with other tensors, given as they lie in memory."""
    fields: dict[str, Any] = {name: tensor.T if name == "b" else tensor for name, tensor in stored.items()}
    return replace(op, **fields)


def _narrow(tensor: Tensor, float16: bool) -> Tensor:
    """In 16 bits, if no value changes. On the meta device, where nothing has a value, as it is."""
    if tensor.is_meta:
        return tensor
    for dtype in (torch.bfloat16, torch.float16) if float16 else (torch.bfloat16,):
        narrow = tensor.to(dtype)
        if torch.equal(narrow.float(), tensor):
            return narrow
    return tensor


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
