"""The Triton kernels as functions of tensors, for what adapters do to their rows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import torch
from torch import Tensor

from adapterhub.ops.cuda.sizes import BYTES, OUTS, RANKS, SPAN
from adapterhub.ops.cuda.tiles import Tiles
from adapterhub.ops.updates import KernelOp, Place, Run, Update, Updates, updates_of

K = TypeVar("K")
OPTIONS = {"enable_fp_fusion": True}
"""Of Triton's compiler: a product and a sum may round once. Said, for what it does unasked changes with its version."""


class CudaKernels:
    """`AdapterKernels` of a CUDA device. Rows are of any floating dtype, computed in fp32 and rounded once."""

    def __init__(self, rows: ModuleType, device: torch.device) -> None:
        """`rows` is `adapterhub.ops.cuda.rows`, which only who has Triton can import."""
        self._rows = rows
        self._device = device
        made_from = (rows.triton.__version__.encode(), *(path.read_bytes() for path in _sources()))
        self.digest = hashlib.sha256(b"".join(made_from)).hexdigest()

    def read(self, ops: Mapping[K, KernelOp]) -> Mapping[K, Update]:
        return updates_of(ops, float16=True, tiled=False)

    def hold(self, updates: Mapping[int, Update], modules: int) -> Updates:
        return Updates.of(updates, modules, self._device)

    def segments(self, runs: Sequence[Run]) -> Tiles:
        return Tiles.of(runs, self._device)

    def room(self, rows: int, rank: int, modules: int, *, reads_output: bool) -> Tiles:
        """Tiles that stay where they are, for any of up to `rows` rows and that rank on a base of so many modules."""
        nothing = Updates(torch.zeros(modules * BYTES, dtype=torch.uint8, device=self._device), (), 0, False)
        return Tiles.room(rows, rank, nothing, reads_output=reads_output)

    def update_(self, places: Sequence[Place], segments: Tiles) -> None:
        if segments.kept:
            for module, x, y in places:
                same = torch.promote_types(x.dtype, y.dtype)
                rows = y.to(same)
                self._update(module, x.to(same), rows, segments)
                if rows is not y:
                    y.copy_(rows)

    def _update(self, module: int, x: Tensor, y: Tensor, tiles: Tiles) -> None:
        """`x` and `y` are of one dtype."""
        _check(x, y)
        width, out, count = x.shape[-1], y.shape[-1], len(tiles.table)
        spans = _blocks(max(width, out) if tiles.reads_output else width, SPAN)
        hidden = torch.empty(spans * tiles.hidden, dtype=torch.float32, device=y.device)
        rest = (width, out, hidden, tiles.hidden)
        with torch.cuda.device(y.get_device()):  # none where they are on a CPU, and interpreted
            if tiles.rank:
                grid = (count, spans, _blocks(tiles.rank, RANKS))
                self._rows.shrink[grid](tiles.table, module, x, y, *rest, **OPTIONS)
            self._rows.expand[count, _blocks(out, OUTS)](tiles.table, module, y, *rest, **OPTIONS)

    def scale_rows_(self, module: int, x: Tensor, segments: Tiles) -> None:
        _check(x)
        if segments.kept:
            width = x.shape[-1]
            grid = (len(segments.table), _blocks(width, OUTS))
            with torch.cuda.device(x.get_device()):
                self._rows.scale_rows[grid](segments.table, module, x, width, **OPTIONS)


def _blocks(size: int, block: int) -> int:
    return -(-size // block)


def _sources() -> list[Path]:
    return sorted(Path(__file__).parent.glob("*.py"))


def _check(*tensors: Tensor) -> None:
    """Only our own code calls a kernel: what does not fit is our bug, and would read another's memory."""
    for tensor in tensors:
        fits = tensor.is_floating_point() and tensor.is_contiguous()
        assert fits, f"a kernel was given {tensor.dtype}, strides {tensor.stride()}"
