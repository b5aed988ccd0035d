"""The kernels of a device, used only where they give what torch gives.

Triton compiles each when it is first called, with what it finds on the machine: a driver, a C compiler, Python's
headers. What fails there, or comes out otherwise on that device, leaves the work to torch.
"""

from __future__ import annotations

import importlib
import os
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from adapterhub.errors import UnavailableError
from adapterhub.op import Bottleneck, LowRank, Scale
from adapterhub.ops.cuda.kernels import CudaKernels
from adapterhub.ops.updates import KernelOp

WIDTH, OUT = 1100, 70
"""Of the module that is tried: more than one span of columns, and no whole blocks of them."""
ROWS = 17
"""Of each adapter: more than a tile."""
CLOSE = {torch.float32: 1e-4, torch.bfloat16: 2e-2}


def load_cuda_kernels(device: torch.device) -> CudaKernels:
    """Raises UnavailableError with the reason: no Triton, it does not compile, or its numbers are not torch's."""
    if device.type == "cuda" and os.environ.get("TRITON_INTERPRET", "0") not in ("", "0"):
        raise UnavailableError("TRITON_INTERPRET is set: Triton's interpreter cannot read a device's memory")
    try:
        rows = importlib.import_module("adapterhub.ops.cuda.rows")
    except ImportError as error:
        raise UnavailableError(f"no Triton: {error}") from None
    kernels = CudaKernels(rows, device)
    try:
        _try(kernels, device)
    except UnavailableError:
        raise
    except Exception as error:  # what a compiler and a driver raise is listed nowhere
        raise UnavailableError(f"Triton: {type(error).__name__}: {error}".partition("\n")[0]) from error
    return kernels


def _try(kernels: CudaKernels, device: torch.device) -> None:
    """Compute an op of every kind beside torch. Raises UnavailableError where they differ."""
    ops = _ops(torch.Generator().manual_seed(0))
    held = [kernels.hold(kernels.read({0: _on(op, device)}), 1) for op in ops]
    segments = kernels.segments([(updates, index * ROWS, (index + 1) * ROWS) for index, updates in enumerate(held)])
    for dtype, close in CLOSE.items():
        generator = torch.Generator().manual_seed(1)
        x, y = (torch.randn(len(ops) * ROWS, width, generator=generator).to(dtype) for width in (WIDTH, OUT))
        expected = [
            op.apply_(own.float(), y[index * ROWS :][:ROWS].float().clone(), lambda rows: rows)
            for index, (op, own) in enumerate(zip(ops, x.split(ROWS), strict=True))
            if not isinstance(op, Scale) or op.into is None
        ]
        found, fronts = y.to(device, copy=True), x.to(device, copy=True)
        kernels.update_([(0, x.to(device), found)], segments)
        kernels.scale_rows_(0, fronts, segments)
        _same(found.cpu()[: len(expected) * ROWS], torch.cat(expected), close)
        front = ops[-1]
        assert isinstance(front, Scale)
        assert front.into is not None
        scaled = x.float().clone()
        scaled[-ROWS:] *= front.into
        _same(fronts.cpu(), scaled, close)


def _same(found: Tensor, expected: Tensor, close: float) -> None:
    off = ((found.float() - expected).abs() / (1 + expected.abs())).max().item()
    if not off < close:
        raise UnavailableError(f"its numbers are not torch's on this device: {off:.1e} off, in {found.dtype}")


def _ops(generator: torch.Generator) -> tuple[KernelOp, ...]:
    """Of every kind, in numbers of every width; the last one acts in front of its module."""

    def drawn(*size: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return (torch.randn(*size, generator=generator) / size[-1] ** 0.5).to(dtype).float()

    half, brain = torch.float16, torch.bfloat16
    return (
        LowRank(drawn(8, WIDTH), drawn(OUT, 8)),
        LowRank(drawn(17, WIDTH, dtype=brain), drawn(OUT, 17, dtype=half), drawn(OUT), drawn(OUT)),
        LowRank(drawn(5, WIDTH, dtype=half), drawn(OUT, 5, dtype=brain)),
        Bottleneck(drawn(3, WIDTH), drawn(OUT, 3), drawn(3), drawn(OUT), "relu", False),
        Bottleneck(drawn(3, WIDTH), drawn(OUT, 3), drawn(3), drawn(OUT), "silu", False),
        Bottleneck(drawn(3, OUT), drawn(OUT, 3), drawn(3), drawn(OUT), "gelu", True),
        Bottleneck(drawn(3, OUT), drawn(OUT, 3), drawn(3), drawn(OUT), "gelu_tanh", True),
        Scale(behind=drawn(OUT)),
        Scale(into=drawn(WIDTH)),
    )


def _on(op: KernelOp, device: torch.device) -> KernelOp:
    moved: dict[str, Any] = {name: value.to(device) for name, value in vars(op).items() if isinstance(value, Tensor)}
    return replace(op, **moved)
