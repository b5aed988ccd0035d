"""The kernels of a device, used only where they give what torch gives.

Triton compiles each when it is first called, with what it finds on the machine: a driver, a C compiler, Python's
headers. What fails there, or comes out otherwise on that device, leaves the work to torch.
"""

from __future__ import annotations

import importlib
import os
from dataclasses import replace
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from adapterhub.errors import UnavailableError
from adapterhub.op import Activation, Bottleneck, LowRank, Scale
from adapterhub.ops.cuda.kernels import CudaKernels
from adapterhub.ops.cuda.sizes import ROWS, SPAN
from adapterhub.ops.updates import KernelOp

WIDTH, OUT = SPAN + 76, 70
"""Of the module that is tried: more than one span of columns, and no whole blocks of them."""
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
    generator = torch.Generator().manual_seed(0)
    into = torch.randn(WIDTH, generator=generator)
    ops = (*_ops(generator), Scale(into=into))
    counts = [ROWS + 1] + [2] * (len(ops) - 1)  # more than a tile, and less
    stops = list(accumulate(counts))
    held = [kernels.hold(kernels.read({0: _on(op, device)}), 1) for op in ops]
    segments = kernels.segments(list(zip(held, [0, *stops], stops, strict=False)))
    for dtype, close in CLOSE.items():
        x, y = (torch.randn(stops[-1], width, generator=generator).to(dtype) for width in (WIDTH, OUT))
        found, scaled = y.to(device, copy=True), x.to(device, copy=True)
        kernels.update_([(0, x.to(device), found)], segments)
        kernels.scale_rows_(0, scaled, segments)
        for op, own, before, after in zip(
            ops, x.split(counts), y.split(counts), found.cpu().split(counts), strict=True
        ):
            expected = before.float().clone()
            _same(after, expected if op is ops[-1] else op.apply_(own.float(), expected, lambda rows: rows), close)
        _same(scaled.cpu(), torch.cat((x[: stops[-2]].float(), x[stops[-2] :].float() * into)), close)


def _same(found: Tensor, expected: Tensor, close: float) -> None:
    off = ((found.float() - expected).abs() / (1 + expected.abs())).max().item()
    if not off < close:
        raise UnavailableError(f"its numbers are not torch's on this device: {off:.1e} off, in {found.dtype}")


def _ops(generator: torch.Generator) -> tuple[KernelOp, ...]:
    """Those that act behind a module, of every kind and in numbers of every width."""

    def drawn(*size: int, dtype: torch.dtype = torch.float32) -> Tensor:
        numbers = torch.randn(*size, generator=generator) / float(size[-1]) ** 0.5
        return numbers.to(dtype).float()

    half, brain = torch.float16, torch.bfloat16
    activations: tuple[Activation, ...] = ("silu", "gelu", "gelu_tanh")
    return (
        LowRank(drawn(17, WIDTH, dtype=brain), drawn(OUT, 17, dtype=half), drawn(OUT), drawn(OUT)),
        LowRank(drawn(5, WIDTH, dtype=half), drawn(OUT, 5, dtype=brain)),
        Bottleneck(drawn(8, WIDTH), drawn(OUT, 8), drawn(8), drawn(OUT), "relu", False),
        *(
            Bottleneck(drawn(3, OUT), drawn(OUT, 3), drawn(3), drawn(OUT), activation, True)
            for activation in activations
        ),
        Scale(behind=drawn(OUT)),
    )


def _on(op: KernelOp, device: torch.device) -> KernelOp:
    moved: dict[str, Any] = {name: value.to(device) for name, value in vars(op).items() if isinstance(value, Tensor)}
    return replace(op, **moved)
