"""The values of a safetensors file whose header was checked, read into memory.

Loads run beside requests that are decoded: there are few operations for each tensor, and none of them holds other
threads up for long.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import torch

from adapterhub.errors import CorruptAdapterError
from adapterhub.giving_way import give_way, in_pieces
from adapterhub.safetensors_header import MAX_HEADER_BYTES, TensorHeader, check_header

if TYPE_CHECKING:
    from torch import Tensor

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
}


def read_values(path: Path, header: Mapping[str, TensorHeader] | None = None, *, name: str) -> dict[str, Tensor]:
    """All tensors, each in memory of its own; `name` says in errors whose they are.

    `header` is what was read of the file before, if it was. Raises CorruptAdapterError for another one, for one that
    is not accepted, and for values that are not finite.
    """
    with path.open("rb") as file:
        if header is None:
            header = check_header(file, path)
        else:
            _check_same(file, header, name)
            give_way()
        tensors = {}
        for key, entry in in_pieces(sorted(header.items(), key=lambda item: item[1].start)):  # as they lie
            raw = bytearray(entry.nbytes)
            if file.readinto(raw) != entry.nbytes:
                raise CorruptAdapterError(f"{name}: truncated in its tensor {key!r}")
            dtype = DTYPES[entry.dtype]
            whole = torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)
            tensors[key] = whole.view(entry.shape)
    check_finite(tensors.items(), name=name)
    return tensors


def check_finite(tensors: Iterable[tuple[str, Tensor]], *, name: str) -> None:
    """Raises CorruptAdapterError for the first tensor of which a value is not finite."""
    keys: dict[torch.dtype, list[str]] = {}
    limits: dict[torch.dtype, list[Tensor]] = {}
    for key, tensor in in_pieces(tensors):
        if tensor.is_floating_point() and tensor.numel():
            keys.setdefault(tensor.dtype, []).append(key)
            # No number where one value is none; takes no memory of its own.
            limits.setdefault(tensor.dtype, []).extend(tensor.aminmax())
    for dtype, found in limits.items():
        finite = torch.stack(found).isfinite().view(-1, 2).all(dim=1)
        if not bool(finite.all()):
            key = keys[dtype][int(finite.int().argmin())]
            raise CorruptAdapterError(f"{name}: tensor {key!r} has values that are not finite")


def _check_same(file: BinaryIO, header: Mapping[str, TensorHeader], name: str) -> None:
    """Raises CorruptAdapterError when a file's header is not the one that was checked; `file` is behind it then."""
    length = int.from_bytes(file.read(8), "little")
    size = 8 + length + max((tensor.end for tensor in header.values()), default=0)
    same = length <= MAX_HEADER_BYTES and os.fstat(file.fileno()).st_size == size
    if not (same and _is_of(file.read(length), header)):
        raise CorruptAdapterError(f"{name}: its file is not the one whose header was read")


def _is_of(raw: bytes, header: Mapping[str, TensorHeader]) -> bool:
    try:
        entries = json.loads(raw)
        entries.pop("__metadata__", None)
        return entries.keys() == header.keys() and all(
            entries[key] == {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
            for key, (dtype, shape, start, end) in header.items()
        )
    except (AttributeError, ValueError, RecursionError):
        return False
