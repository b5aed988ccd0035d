"""An adapter's updates brought where the kernels read them by the kernels' own library: `updates_of` without torch.

An adapter has hundreds of tensors, and others wait while torch is asked for several things about each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ctypes import Array, Structure, c_int, c_long, c_void_p
from typing import Any, TypeVar

import torch
from torch import Tensor

from adapterhub.giving_way import give_way, in_pieces
from adapterhub.ops.pages import pages
from adapterhub.ops.updates import KINDS, KernelOp, Update, numbers_of, update_of

K = TypeVar("K")
DTYPES = {kind: dtype for dtype, kind in KINDS.items()}


class NumbersStruct(Structure):
    _fields_ = (
        ("from_", c_void_p),
        ("rank", c_long),
        ("width", c_long),
        ("rank_step", c_long),
        ("width_step", c_long),
        ("start", c_long),
        ("is_matrix", c_int),
        ("kind", c_int),
    )


def packed_updates(ops: Mapping[K, KernelOp], library: Any) -> dict[K, Update] | None:
    """As `updates_of`, to the bit; None where a number is not in fp32 on the CPU.

    `library` is the kernels', loaded by ctypes: it is called twice, for all that the ops hold.
    """
    numbers: dict[tuple[int, ...], None] = {}
    """What `NumbersStruct` takes of each; what several ops share is there once."""
    places: dict[K, dict[str, tuple[int, ...]]] = {}
    for key, op in in_pieces(ops.items()):
        places[key] = own = {}
        for name, tensor in numbers_of(op).items():
            if tensor.dtype is not torch.float32 or not tensor.is_cpu:
                return None
            is_matrix = name in ("a", "b")
            sizes, steps = tensor.shape, tensor.stride()
            whole = (*sizes, *steps) if is_matrix else (1, *sizes, 0, *steps)
            own[name] = entry = (tensor.data_ptr(), *whole, 0, is_matrix)
            numbers[entry] = None
    structs = (NumbersStruct * len(numbers))(*(NumbersStruct(*entry) for entry in numbers))
    give_way()
    memory = pages(library.adapterhub_measure(len(structs), structs))
    library.adapterhub_fill(len(structs), structs, memory.data_ptr())
    filled = dict(zip(numbers, in_pieces(_views(memory, structs)), strict=True))
    made = {}
    for key, op in in_pieces(ops.items()):
        made[key] = update_of(op, {name: filled[entry] for name, entry in places[key].items()})
    return made


def _views(memory: Tensor, structs: Array[NumbersStruct]) -> Iterator[Tensor]:
    """The numbers of each, [rank * width]."""
    typed = {}
    for kind, dtype in DTYPES.items():
        size = dtype.itemsize
        typed[kind] = size, memory[: len(memory) // size * size].view(dtype)
    for struct in structs:
        size, whole = typed[struct.kind]
        yield whole.narrow(0, struct.start // size, struct.rank * struct.width)
