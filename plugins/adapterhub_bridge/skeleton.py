"""The base's linear modules for PEFT to wrap, under their names, with borrowed weights and nothing around them."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from adapterhub import BaseShape, ModuleShape
from adapterhub.method import BaseWeights
from adapterhub_bridge.borrowed import Borrowed, Lender, Source


def skeleton(
    shape: BaseShape, weights: BaseWeights | None, device: torch.device | str = "cpu", *, seed: int = 0
) -> nn.Module:
    """A tree of modules on `device`; the values of weights that `weights` does not have are made up from `seed`."""
    root = nn.Module()
    root.is_gradient_checkpointing = False  # type: ignore[assignment]  # PEFT asks
    for name, module in shape.modules.items():
        *path, leaf = name.split(".")
        parent = root
        for part in path:
            if part not in parent._modules:
                parent.add_module(part, nn.Module())
            parent = getattr(parent, part)
        if module.kind in ("linear", "conv1d"):
            parent.add_module(leaf, _linear(name, module, weights, torch.device(device), seed))
        elif leaf not in parent._modules:
            parent.add_module(leaf, nn.Module())
    return root


def _linear(name: str, shape: ModuleShape, weights: BaseWeights | None, device: torch.device, seed: int) -> nn.Module:
    """A plain module of the base's class: some of PEFT's layers take no subclass of it."""
    with torch.device("meta"):
        made: Any = (
            nn.Linear(shape.in_features, shape.out_features, bias=shape.bias)
            if shape.kind == "linear"
            else Conv1D(shape.out_features, shape.in_features)  # type: ignore[no-untyped-call]
        )
    if device.type != "meta":
        size, dtype = tuple(made.weight.shape), torch.float32
        values: Source = partial(_made_up, size, device, seed)
        bias = torch.zeros(shape.out_features) if shape.bias else None
        if weights is not None:
            bias = weights.bias(name)
            if (floating := weights.floating(name)) is not None:
                values, dtype = partial(_same, floating), floating.dtype
        borrowed = Borrowed(size, dtype, device, Lender(name, bias=shape.bias, values=values))
        made.weight = nn.Parameter(borrowed, requires_grad=False)
        made.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
    made.requires_grad_(False)
    module: nn.Module = made
    return module


def _same(weight: Tensor) -> Tensor:
    return weight


def _made_up(size: tuple[int, ...], device: torch.device, seed: int) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)).to(device)
