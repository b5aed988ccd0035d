"""Copying single files out of a folder nobody vouches for.

What is checked later is the copy: nothing that happens to the folder meanwhile can change what is published.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from adapterhub.adapter import MAX_JSON_BYTES
from adapterhub.errors import UnsupportedAdapterError
from adapterhub.imports.plain import opened, pieces
from adapterhub.safetensors_header import check_header


def stage(source: Path, into: Path) -> bool:
    """Copy the plain file `source`, of at most MAX_JSON_BYTES, into the folder `into`; False when there is none.

    Raises CorruptAdapterError for what is no plain file, a link included, or too long, and OSError.
    """
    with opened(source) as file:
        if file is None:
            return False
        _copy(file, source, into, MAX_JSON_BYTES)
    return True


def stage_tensors(source: Path, into: Path, *, limit: int) -> bool:
    """As `stage`, for a safetensors file, whose header is checked before anything is copied.

    Raises UnsupportedAdapterError for more than `limit` bytes of tensors, and as `stage`.
    """
    with opened(source) as file:
        if file is None:
            return False
        nbytes = sum(tensor.nbytes for tensor in check_header(file, source).values())
        if nbytes > limit:
            raise UnsupportedAdapterError(
                f"{source}: {nbytes} bytes of tensors, over the limit of {limit}, which --max-bytes raises"
            )
        file.seek(0)
        _copy(file, source, into, os.fstat(file.fileno()).st_size)
    return True


def _copy(file: BinaryIO, source: Path, into: Path, limit: int) -> None:
    with (into / source.name).open("wb") as copy:
        for piece in pieces(file, source, limit):
            copy.write(piece)
