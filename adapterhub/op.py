"""What computes a module site's rows when serving, in place of a method's own functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

RunModule = Callable[["Tensor"], "Tensor"]
"""The base's own module on other rows: [n, in] -> [n, out]."""


class Op(Protocol):
    """One site's mathematics. A row's result may not depend on the other rows."""

    def apply_(self, x: Tensor, y: Tensor, module: RunModule) -> Tensor:
        """The site's rows. x: [rows, in], the module's input; y: [rows, out], its output, which may be overwritten."""

    def tensors(self) -> Iterable[Tensor]:
        """Everything it keeps."""

    def misfit(self, in_features: int, out_features: int) -> str:
        """What does not fit a module of these widths; empty when all does."""


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

    def apply_(self, x: Tensor, y: Tensor, module: RunModule) -> Tensor:
        """The update of `y`, in place: one pass over it where there is neither scale nor shift."""
        if self.scale is not None:
            y.mul_(self.scale)
        y.addmm_(x @ self.a.T, self.b.T)
        return y if self.shift is None else y.add_(self.shift)

    def tensors(self) -> tuple[Tensor, ...]:
        return tuple(tensor for tensor in (self.a, self.b, self.scale, self.shift) if tensor is not None)

    def misfit(self, in_features: int, out_features: int) -> str:
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
