"""The header of a safetensors file, checked before any tensor is read.

A hostile header can cost seconds and hundreds of megabytes, overlap tensors, or claim more data
than there is; the limits and checks here come first. Needs no torch.
Format: https://huggingface.co/docs/safetensors, an 8-byte little-endian length, that many bytes of
JSON, then the data.
"""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from adapterhub.errors import CorruptAdapterError
from adapterhub.json_object import load_object

MAX_HEADER_BYTES = 1 << 20
MAX_TENSORS = 8192
MAX_DIMENSIONS = 8

DTYPE_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4}
"""Dtypes an adapter's tensors may have."""
WHOLE_NUMBERS = frozenset(("I64", "I32"))
"""Those of tensors that hold indices."""

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,255}\Z")


class TensorHeader(NamedTuple):
    """One tensor of the file: `start` and `end` are byte offsets into the data part."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def nbytes(self) -> int:
        return self.end - self.start


def read_header(path: Path) -> dict[str, TensorHeader]:
    """The tensors a file holds, by name.

    Raises CorruptAdapterError naming the file and what is wrong with it.
    """
    with path.open("rb") as file:
        return check_header(file, path)


def check_header(file: BinaryIO, path: Path) -> dict[str, TensorHeader]:
    """As `read_header`, of a file that is open already; `path` names it in errors."""
    size = os.fstat(file.fileno()).st_size
    prefix = file.read(8)
    if len(prefix) < 8:
        raise CorruptAdapterError(f"{path}: {size} bytes, too short for a safetensors file")
    length = int.from_bytes(prefix, "little")
    if length > MAX_HEADER_BYTES:
        raise CorruptAdapterError(
            f"{path}: not a safetensors file, or its header of {length} bytes is over {MAX_HEADER_BYTES}"
        )
    if length > size - 8:
        raise CorruptAdapterError(f"{path}: truncated in its header ({size} bytes, needs {length + 8})")
    raw = file.read(length)
    if not raw.startswith(b"{"):
        raise CorruptAdapterError(f"{path}: header is not a JSON object")
    try:
        header = load_object(raw)
    except ValueError as error:
        raise CorruptAdapterError(f"{path}: header: {error}") from None
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise CorruptAdapterError(f"{path}: __metadata__ does not map names to text")
    if not header:
        raise CorruptAdapterError(f"{path}: holds no tensors")
    if len(header) > MAX_TENSORS:
        raise CorruptAdapterError(f"{path}: {len(header)} tensors, at most {MAX_TENSORS} are accepted")
    tensors = {name: _tensor(path, name, entry) for name, entry in header.items()}
    _check_layout(path, tensors, size - 8 - length)
    return tensors


def _tensor(path: Path, name: str, entry: Any) -> TensorHeader:
    if not _PLAIN_NAME.match(name) or ".." in name:
        raise CorruptAdapterError(f"{path}: {name[:80]!r} is not a plain tensor name")
    match entry:
        case {"dtype": dtype, "shape": shape, "data_offsets": [start, end], **more} if not more:
            pass
        case _:
            raise CorruptAdapterError(f"{path}: tensor {name!r} needs dtype, shape and two data_offsets, nothing else")
    if not isinstance(dtype, str) or dtype not in DTYPE_BYTES:
        accepted = ", ".join(DTYPE_BYTES)
        raise CorruptAdapterError(f"{path}: tensor {name!r} has dtype {repr(dtype)[:80]}; accepted: {accepted}")
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS or not all(map(_is_size, shape)):
        raise CorruptAdapterError(f"{path}: tensor {name!r} has shape {repr(shape)[:80]}; need integers of 0 or more")
    if not _is_size(start) or not _is_size(end) or end - start != math.prod(shape) * DTYPE_BYTES[dtype]:
        offsets = repr([start, end])[:80]
        raise CorruptAdapterError(f"{path}: tensor {name!r} of shape {shape} does not fill bytes {offsets}")
    return TensorHeader(dtype, tuple(shape), start, end)


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 48


def _check_layout(path: Path, tensors: dict[str, TensorHeader], data_bytes: int) -> None:
    expected = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if tensor.start != expected:
            raise CorruptAdapterError(f"{path}: tensor {name!r} starts at byte {tensor.start}, expected {expected}")
        expected = tensor.end
    if expected != data_bytes:
        problem = "truncated" if expected > data_bytes else "has bytes after its tensors"
        raise CorruptAdapterError(f"{path}: {problem} ({data_bytes} bytes of data, its header says {expected})")
