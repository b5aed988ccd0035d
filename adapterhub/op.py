"""What computes a module site's rows when serving, in place of a method's own functions.

`LowRank`, `Bottleneck` and `Scale` are the ops that the native kernels know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, get_args

if TYPE_CHECKING:
    from torch import Tensor

RunModule = Callable[["Tensor"], "Tensor"]
"""The base's own module on other rows: [n, in] -> [n, out]."""

Activation = Literal["relu", "silu", "gelu", "gelu_tanh"]


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
    """y' = scale * y + (x A^T) B^T + shift.

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
        rank = self.a.shape[0]
        return _misfit(
            self.a.dtype,
            ("a", self.a, (rank, in_features)),
            ("b", self.b, (out_features, rank)),
            ("scale", self.scale, (out_features,)),
            ("shift", self.shift, (out_features,)),
        )


@dataclass(frozen=True, eq=False)
class Bottleneck:
    """y' = y + f(z A^T + bias) B^T + shift, where z is x, or y itself.

    x: [rows, in], the module's or its tap's input; y: [rows, out], the module's output. All tensors are of one dtype.
    """

    a: Tensor
    """[r, in], or [r, out] where it reads y."""
    b: Tensor
    """[out, r], with the scaling in it."""
    bias: Tensor
    """[r]"""
    shift: Tensor
    """[out], with the scaling in it."""
    activation: Activation
    """f"""
    reads_output: bool
    """Whether z is y."""

    def apply_(self, x: Tensor, y: Tensor, module: RunModule) -> Tensor:
        """The update of `y`, in place."""
        hidden = _activated(self.activation, (y if self.reads_output else x) @ self.a.T + self.bias)
        return y.addmm_(hidden, self.b.T).add_(self.shift)

    def tensors(self) -> tuple[Tensor, ...]:
        return (self.a, self.b, self.bias, self.shift)

    def misfit(self, in_features: int, out_features: int) -> str:
        if self.activation not in get_args(Activation):
            return f"activation is {self.activation!r}; need one of {', '.join(get_args(Activation))}"
        rank = self.a.shape[0]
        return _misfit(
            self.a.dtype,
            ("a", self.a, (rank, out_features if self.reads_output else in_features)),
            ("b", self.b, (out_features, rank)),
            ("bias", self.bias, (rank,)),
            ("shift", self.shift, (out_features,)),
        )


@dataclass(frozen=True, eq=False)
class Scale:
    """y' = module(into * x), or y' = behind * y."""

    into: Tensor | None = None
    """[in]. Used where kernels scale the rows on their way; else `pre` does it, for the module would run twice."""
    behind: Tensor | None = None
    """[out]. One of the two is given."""

    def apply_(self, x: Tensor, y: Tensor, module: RunModule) -> Tensor:
        """The module's rows for the scaled input, or its scaled rows, in place."""
        if self.into is not None:
            return module(x * self.into)
        assert self.behind is not None
        return y.mul_(self.behind)

    def tensors(self) -> tuple[Tensor, ...]:
        return tuple(tensor for tensor in (self.into, self.behind) if tensor is not None)

    def misfit(self, in_features: int, out_features: int) -> str:
        if len(given := self.tensors()) != 1:
            return f"{len(given)} of into and behind given; need one"
        return _misfit(given[0].dtype, ("into", self.into, (in_features,)), ("behind", self.behind, (out_features,)))


def _activated(activation: Activation, x: Tensor) -> Tensor:
    from torch.nn import functional  # here, so that listings need not wait for it

    if activation == "relu":
        return functional.relu(x)
    if activation == "silu":
        return functional.silu(x)
    return functional.gelu(x, approximate="tanh" if activation == "gelu_tanh" else "none")


def _misfit(dtype: object, *wanted: tuple[str, Tensor | None, tuple[int, ...]]) -> str:
    for name, tensor, size in wanted:
        if tensor is not None and (tuple(tensor.shape) != size or tensor.dtype != dtype):
            return f"{name} is {tuple(tensor.shape)} of {tensor.dtype}; need {size} of {dtype}"
    return ""
