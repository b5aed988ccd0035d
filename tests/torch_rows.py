"""What `adapterhub.ops.cuda.rows` computes, from the same tables by the same addresses, in torch: the interpreter takes
minutes for what an engine does in a second."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from adapterhub.ops.cuda.sizes import BYTES
from adapterhub.ops.updates import ACTIVATIONS, KINDS, UpdateStruct

DTYPES = {number: dtype for dtype, number in KINDS.items()}
NAMES = {number: name for name, number in ACTIVATIONS.items()}

triton = SimpleNamespace(__version__="none")


class _Kernel:
    def __init__(self, compute: Any) -> None:
        self._compute = compute

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        def launch(tiles: Tensor, module: int, *rest: Any, **options: Any) -> None:
            for update, first, stop, hidden, stride in tiles.tolist()[: grid[0]]:
                struct = UpdateStruct.from_address(update + module * BYTES)
                self._compute(struct, slice(first, stop), hidden, stride, *rest)

        return launch


def _tensor(address: int | None, *size: int, kind: int = 0) -> Tensor:
    count, dtype = torch.Size(size).numel(), DTYPES[kind]
    memory = (ctypes.c_char * (count * dtype.itemsize)).from_address(address or 0)
    return torch.frombuffer(memory, dtype=dtype).view(size).float()


def _activated(number: int, u: Tensor) -> Tensor:
    name = NAMES.get(number)
    if name is None:
        return u
    if name == "gelu_tanh":
        return functional.gelu(u, approximate="tanh")
    result: Tensor = getattr(functional, name)(u)
    return result


def _shrink(
    own: UpdateStruct, rows: slice, at: int, stride: int, x: Tensor, y: Tensor, width: int, out: int, *rest: Any
) -> None:
    hidden, _ = rest
    z = y.view(-1, out) if own.reads_output else x.view(-1, width)
    if own.rank:
        u = z[rows].float() @ _tensor(own.a, own.rank, z.shape[1], kind=own.a_kind).T
        room = hidden[at : at + len(u) * stride].view(len(u), stride)
        room[:, : own.rank] = u


def _expand(
    own: UpdateStruct, rows: slice, at: int, stride: int, y: Tensor, width: int, out: int, hidden: Tensor, size: int
) -> None:
    mine = y.view(-1, out)[rows]
    result = mine.float()
    if own.scale:
        result = result * _tensor(own.scale, out)
    if own.rank:
        u = hidden[at : at + len(mine) * stride].view(len(mine), stride)[:, : own.rank]
        u = u + _tensor(own.bias, own.rank) if own.bias else u
        result = result + _activated(own.activation, u) @ _tensor(own.b, own.rank, out, kind=own.b_kind)
    if own.shift:
        result = result + _tensor(own.shift, out)
    mine.copy_(result)


def _scale_rows(own: UpdateStruct, rows: slice, at: int, stride: int, x: Tensor, width: int) -> None:
    if own.front:
        x.view(-1, width)[rows] *= _tensor(own.front, width)


shrink, expand, scale_rows = (_Kernel(compute) for compute in (_shrink, _expand, _scale_rows))
