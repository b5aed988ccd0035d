"""A base's weight as PEFT's layers see it: its shape, the module's rows, its values where it is floating; read only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._pytree import tree_map

from adapterhub import RunModule, UnsupportedAdapterError

Source = Callable[[], Tensor]
_VIEWS = (torch.ops.aten.detach.default, torch.ops.aten.alias.default)


class Lender:
    """What stands behind a borrowed weight: a module's rows and, where they are to be had, the weight's values.

    Its rows are the engine's `y` for the engine's `x`; for other rows, the base's module is run on them.
    """

    def __init__(self, module: str, *, bias: bool, values: Source | None) -> None:
        self.module = module
        self.bias = bias
        """The module adds a bias, so a product without one is not the module's."""
        self.values = values
        """None for a quantized weight."""
        self.read = False
        """Whether the values were asked for."""
        self._now: tuple[Tensor, Tensor, RunModule] | None = None

    def begin(self, x: Tensor, y: Tensor, run: RunModule) -> None:
        """x: [n, in]; y: [n, out]; `run` is the module on other rows."""
        self._now = (x, y, run)

    def end(self) -> None:
        self._now = None

    def rows(self, x: Tensor) -> Tensor:
        """x: [.., in] -> [.., out], which the caller may write to."""
        assert self._now is not None, f"{self.module} ran outside a step"
        own, y, run = self._now
        if x.data_ptr() == own.data_ptr() and x.numel() == own.numel() and x.dtype == own.dtype:
            return y.clone().view(*x.shape[:-1], y.shape[-1])
        return run(x.reshape(-1, x.shape[-1])).view(*x.shape[:-1], y.shape[-1])


class Borrowed(Tensor):
    """Stands in for a module's weight.

    A product with it is the module's own rows. Any other use gets the values, without a copy.
    Raises UnsupportedAdapterError, naming the module, when values are asked of a quantized weight and
    when anything would change them.
    """

    lender: Lender

    @staticmethod
    def __new__(cls, size: tuple[int, ...], dtype: torch.dtype, device: torch.device, lender: Lender) -> Borrowed:
        made: Borrowed = torch.Tensor._make_wrapper_subclass(cls, size, dtype=dtype, device=device)
        made.lender = lender
        return made

    def __init__(self, *_: Any) -> None:
        super().__init__()

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        product = _product(func, args, kwargs or {})
        if product is not None:
            x, weight, bias = product
            if weight.lender.bias == (bias is not None):
                return weight.lender.rows(x)
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        if func in _VIEWS:
            (of,) = args
            return Borrowed(tuple(of.shape), of.dtype, of.device, of.lender)
        if func._schema.is_mutable and isinstance(args[0], Borrowed):
            raise UnsupportedAdapterError(f"{args[0].lender.module}: the method changes the base's weight")
        return func(*tree_map(_values, args), **tree_map(_values, kwargs or {}))


def _product(func: Any, args: Any, kwargs: Any) -> tuple[Tensor, Borrowed, Tensor | None] | None:
    """Rows, weight and bias of a call that is a whole module's: nn.Linear's, or that of transformers' Conv1D."""
    if func is functional.linear:
        x, weight, bias = (*args, None)[:3]
        bias = kwargs.get("bias", bias)
    elif func is torch.addmm and len(args) == 3:
        bias, x, weight = args
    else:
        return None
    return (x, weight, bias) if isinstance(weight, Borrowed) else None


def _values(found: Any) -> Any:
    if not isinstance(found, Borrowed):
        return found
    lender = found.lender
    if lender.values is None:
        raise UnsupportedAdapterError(
            f"{lender.module}: the method needs the base's weight, which is quantized here; "
            "served on an unquantized base"
        )
    lender.read = True
    return lender.values()
