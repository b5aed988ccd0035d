"""A base's weights, one module at a time, as it computes with them."""

from __future__ import annotations

from copy import copy
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from adapterhub.base.int8 import Int8Linear
from adapterhub.method import Params


class WeightsView:
    """Dequantized weights for methods that derive tensors from them (`Method.bind`)."""

    def __init__(self, model: nn.Module) -> None:
        self._modules = dict(model.named_modules())  # as they are now: an adapter may wrap them later
        self._row_norms: dict[str, Tensor] = {}

    def weight(self, module: str) -> Tensor:
        """A linear or embedding module's weight: fp32 [out, in], for an embedding [rows, width]."""
        found: Any = self._modules[module]
        if isinstance(found, Int8Linear):
            return found.dequantize()
        if isinstance(found, Conv1D):
            transposed: Tensor = found.weight.detach().float()
            return transposed.t()
        state = getattr(found.weight, "quant_state", None)
        if state is not None:
            from bitsandbytes.functional import dequantize_4bit

            dequantized: Tensor = dequantize_4bit(found.weight.data, state)
            return dequantized.float()
        weight: Tensor = found.weight
        if (scale := getattr(weight, "SCB", None)) is not None:  # LLM.int8, one scale per row
            scales: Tensor = scale.float() / 127
            return weight.detach().float() * scales.unsqueeze(1)
        return weight.detach().float()

    def floating(self, module: str) -> Tensor | None:
        """A module's own weight, in its layout and dtype, where it is held in floating point; None when quantized."""
        weight = getattr(self._modules[module], "weight", None)
        return weight.detach() if isinstance(weight, Tensor) and weight.is_floating_point() else None

    def bias(self, module: str) -> Tensor | None:
        """A module's bias, fp32 [out]; None when it has none."""
        bias: Tensor | None = getattr(self._modules[module], "bias", None)
        return None if bias is None else bias.detach().float()

    def row_norms(self, module: str) -> Tensor:
        """Squared norms of the weight's rows, fp64 [out]; computed once."""
        if module not in self._row_norms:
            weight = self.weight(module)
            self._row_norms[module] = torch.linalg.vector_norm(weight, dim=1, dtype=torch.float64).square()
        return self._row_norms[module]

    def embed_scale(self, module: str) -> float:
        """What an embedding multiplies the rows of its table by, as Gemma's does; 1 where it has no value."""
        scale = getattr(self._modules[module], "embed_scale", 1.0)
        return 1.0 if isinstance(scale, Tensor) and scale.is_meta else float(scale)

    def norm(self, module: str, x: Tensor, params: Params) -> Tensor:
        """What a norm gives for rows `x` [n, width] with `params` in place of its own weight and bias.

        The base may be running meanwhile: its module is not touched, and hooks on it are not called.
        """
        own: Any = copy(self._modules[module])
        own._parameters = {**own._parameters, **params}
        result: Tensor = type(own).forward(own, x)
        return result
