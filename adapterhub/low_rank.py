"""The fast form of a low-rank update: an op that the core computes in place for a method that lowers to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class LowRank:
    """y' = scale * y + (x A^T) B^T + shift, the result of `Method.lower`.

    x: [rows, in], the module's input; y: [rows, out], its output. All tensors are of one dtype.
    """

    a: Tensor
    """[r, in]"""
    b: Tensor
    """[out, r], with the scaling in it."""
    scale: Tensor | None = None
    """[out]"""
    shift: Tensor | None = None
    """[out]"""

    def apply_(self, x: Tensor, y: Tensor) -> Tensor:
        """The update of `y`, in place: one pass over it where there is neither scale nor shift."""
        if self.scale is not None:
            y.mul_(self.scale)
        y.addmm_(x @ self.a.T, self.b.T)
        return y if self.shift is None else y.add_(self.shift)

    def misfit(self, in_features: int, out_features: int) -> str:
        """What does not fit a module of these widths; empty when all does."""
        wanted = {
            "a": (self.b.shape[-1], in_features),
            "b": (out_features, self.a.shape[0]),
            "scale": (out_features,),
            "shift": (out_features,),
        }
        for name, size in wanted.items():
            tensor = getattr(self, name)
            if tensor is not None and (tuple(tensor.shape) != size or tensor.dtype != self.a.dtype):
                return f"{name} is {tuple(tensor.shape)} of {tensor.dtype}; need {size} of {self.a.dtype}"
        return ""
