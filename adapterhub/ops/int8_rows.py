"""Rows and weights in int8, as the kernels multiply them."""

from __future__ import annotations

import ctypes
from typing import NamedTuple, Self

import torch
from torch import Tensor

from adapterhub.ops.c_interface import MatrixStruct, QuantizedStruct

ALIGNED = 64
"""Bytes that a row of int8 values is padded to."""


class Quantized(NamedTuple):
    """Rows in int8, with one scale each: three arrays in one piece of memory."""

    memory: Tensor
    """uint8: values, scales and sums, one behind the other."""
    rows: int
    stride: int
    struct: QuantizedStruct

    @classmethod
    def empty(cls, rows: int, width: int) -> Self:
        stride = -(-width // ALIGNED) * ALIGNED
        memory = torch.empty(rows * (stride + 8), dtype=torch.uint8)
        values = memory.data_ptr()
        scale = values + rows * stride
        return cls(memory, rows, stride, QuantizedStruct(values, scale, scale + 4 * rows, stride))

    @property
    def values(self) -> Tensor:
        """int8 [rows, stride], zeros behind a row's own values."""
        return self.memory[: self.rows * self.stride].view(torch.int8).view(self.rows, self.stride)

    @property
    def scale(self) -> Tensor:
        """fp32 [rows]"""
        return self.memory[-8 * self.rows : -4 * self.rows].view(torch.float32)

    @property
    def sum(self) -> Tensor:
        """int32 [rows], of a row's values."""
        return self.memory[-4 * self.rows :].view(torch.int32)


class Matrix(NamedTuple):
    """An int8 weight, ready to multiply."""

    weight: Tensor
    """As `pack_int8` gives it."""
    scale: Tensor
    """fp32 [out]"""
    bias: Tensor | None
    """fp32 [out]"""

    @property
    def bias_address(self) -> int | None:
        return None if self.bias is None else self.bias.data_ptr()


class Matrices(NamedTuple):
    """Weights that multiply the same rows in one call."""

    structs: ctypes.Array[MatrixStruct]
    width: int
    """Values of a row."""
    outs: tuple[int, ...]
    kept: tuple[Matrix, ...]

    @classmethod
    def of(cls, width: int, *matrices: Matrix) -> Self:
        outs = tuple(m.scale.shape[0] for m in matrices)
        rows = (
            MatrixStruct(
                m.weight.data_ptr(), m.scale.data_ptr(), None if m.bias is None else m.bias.data_ptr(), None, out
            )
            for m, out in zip(matrices, outs, strict=True)
        )
        return cls((MatrixStruct * len(matrices))(*rows), width, outs, matrices)


def pack_int8(weight: Tensor, tile: int) -> Tensor:
    """int8 [out, in] as the kernel reads it: uint8 [out / tile, in / 4, tile, 4] with 128 added, padded."""
    out, width = weight.shape
    padded = torch.zeros(-(-out // tile) * tile, -(-width // 4) * 4, dtype=torch.int8)
    padded[:out, :width] = weight
    moved = (padded.to(torch.int16) + 128).to(torch.uint8)
    return moved.view(len(padded) // tile, tile, -1, 4).transpose(1, 2).contiguous()


def unpack_int8(packed: Tensor, out: int, width: int) -> Tensor:
    """The weight that `pack_int8` was given: int8 [out, width]."""
    tiles, groups, tile, _ = packed.shape
    rows = packed.transpose(1, 2).reshape(tiles * tile, groups * 4)[:out, :width]
    return (rows.to(torch.int16) - 128).to(torch.int8)
