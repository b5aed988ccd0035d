"""A linear layer in int8 whose every row stands alone.

    s[i] = max_j |x[i, j]| / 127                              one scale per row of the input
    q[i] = round(x[i] / s[i])
    y[i] = (q[i] @ Wq.T) * s[i] * sw + b                      sw: one scale per output channel

    x [.., in]   Wq int8 [out, in]   sw [out]   b [out]   y [.., out]

Sums of int8 products are exact in int32 and the rest is elementwise, so a row's result is the same
to the bit in any batch. One scale for the whole input would make it depend on its neighbours.
The native kernel and torch give the same bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import torch
from torch import nn

from adapterhub.ops import Matrices, Matrix, pack_int8, unpack_int8

if TYPE_CHECKING:
    from torch import Tensor
    from transformers.pytorch_utils import Conv1D

    from adapterhub.ops import Kernels

SMALLEST_SCALE = torch.finfo(torch.float32).tiny
"""A row of zeros is divided by this instead of by zero."""

MAX_IN_FEATURES = (2**31 - 1) // 127**2
"""The longest sum of int8 products that cannot overflow int32."""


class Int8Linear(nn.Module):
    """A frozen linear layer with int8 weights and per-row int8 activations. CPU, inference only."""

    held: Tensor
    """The weight as it is computed with: int8 [out_features, in_features], or packed for the kernels."""
    scale: Tensor
    """fp32 [out_features]"""
    bias: Tensor | None
    """fp32 [out_features]"""

    def __init__(self, weight: Tensor, bias: Tensor | None, kernels: Kernels | None = None) -> None:
        """Quantize `weight` [out, in], of any floating dtype, and keep `bias` [out] in fp32.

        It computes by `kernels`, or by torch where there are none for int8.
        """
        super().__init__()
        self.kernels = kernels if kernels and kernels.tile else None
        self.out_features, self.in_features = weight.shape
        assert self.in_features <= MAX_IN_FEATURES, f"{self.in_features} input features overflow int32"
        weight_q, scale = quantize_rows(weight.detach().float())
        if self.kernels:
            weight_q = pack_int8(weight_q, self.kernels.tile)
        self.register_buffer("held", weight_q)
        self.register_buffer("scale", scale.squeeze(-1))
        self.register_buffer("bias", None if bias is None else bias.detach().float().clone())

    @classmethod
    def from_linear(cls, linear: nn.Linear, kernels: Kernels | None = None) -> Self:
        return cls(linear.weight, linear.bias, kernels)

    @classmethod
    def from_conv1d(cls, conv: Conv1D, kernels: Kernels | None = None) -> Self:
        """From GPT-2's layer, whose weight is stored transposed: [in, out]."""
        return cls(conv.weight.t(), conv.bias, kernels)

    @property
    def weight_q(self) -> Tensor:
        """int8 [out_features, in_features]"""
        return unpack_int8(self.held, self.out_features, self.in_features) if self.kernels else self.held

    @property
    def matrix(self) -> Matrix | None:
        """What the kernels multiply with; None where torch does."""
        return Matrix(self.held, self.scale, self.bias) if self.kernels else None

    def forward(self, x: Tensor) -> Tensor:
        """`x` [.., in_features] -> [.., out_features], in the dtype of `x`."""
        # Rounding has no gradient: a backward through here would be silently wrong.
        assert not (x.requires_grad and torch.is_grad_enabled()), "int8 is for inference; train on none or nf4"
        flat = x.reshape(-1, self.in_features).float()
        if self.kernels and (matrix := self.matrix):
            q = self.kernels.quantize(flat.contiguous())
            (y,) = self.kernels.int8_matmul(q, Matrices.of(self.in_features, matrix))
            return y.to(x.dtype).view(*x.shape[:-1], self.out_features)
        rows, scale = quantize_rows(flat)
        # Two multiplications in a fixed order, never a fused one: fusing differs between the vector
        # body and the tail of a loop, and so between batch sizes.
        y = (torch._int_mm(rows, self.held.t()) * scale).mul_(self.scale)
        if self.bias is not None:
            y.add_(self.bias)
        return y.to(x.dtype).view(*x.shape[:-1], self.out_features)

    def dequantize(self) -> Tensor:
        """The weight it computes with, fp32 [out_features, in_features]."""
        return self.weight_q.float().mul_(self.scale.unsqueeze(-1))

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


def quantize_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """Symmetric int8 with one scale per row: `x` fp32 [n, k] -> int8 [n, k], fp32 [n, 1].

    A row that is not finite gets a scale that is not finite: its own result shows it, no other row's.
    """
    scale = x.abs().amax(-1, keepdim=True).div_(127).clamp_min_(SMALLEST_SCALE)
    return (x / scale).round_().to(torch.int8), scale
