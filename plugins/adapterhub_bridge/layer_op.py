"""One of PEFT's own layers as the op of a site, and what is asked of it before it serves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from adapterhub import RunModule, UnsupportedAdapterError
from adapterhub_bridge.borrowed import Borrowed, Lender

ROWS = 3
"""Rows that a layer is tried with."""
TOLERANCE = 1e-4
"""Against the largest value."""
NARROW = (torch.float32, torch.complex64, torch.float16, torch.bfloat16)


WeightUse = Literal["own", "added", "turned"]
"""What a layer makes of its base's weight W, at most, for x W'^T:

    own       anything: it must be there, unless it is only multiplied with
    added     W' = W + D, computed as y + x D^T, with zeros for W
    turned    W' = W M, computed as W (x M^T), with the identity for W
"""


class LayerOp:
    """Runs the layer on a site's rows; its base layer gives what the engine has computed."""

    def __init__(self, module: str, layer: Any, use: WeightUse) -> None:
        self._module = module
        self._layer = layer
        self._use = use
        self._base: Any = layer.get_base_layer()

    @property
    def _lender(self) -> Lender:
        """What stands behind the base's weight; there is none where only sizes are asked for."""
        lender: Lender = self._base.weight.lender
        return lender

    def settle(self, dtype: torch.dtype, *, quantized: bool) -> None:
        """From now on lend what rows are computed with, in `dtype`; a quantized weight is not to be had."""
        lender, weight = self._lender, self._base.weight
        if self._use == "own":
            lender.values = None if quantized else lender.values
            return
        like = torch.zeros((), dtype=dtype, device=weight.device)
        size, width = tuple(weight.shape), weight.shape[1]
        lender.values = (lambda: like.expand(size)) if self._use == "added" else (lambda: torch.eye(width).to(like))
        borrowed = Borrowed(size, dtype, weight.device, lender)
        self._base.weight, self._base.bias = nn.Parameter(borrowed, requires_grad=False), None
        lender.bias = False

    def apply_(self, x: Tensor, y: Tensor, module: RunModule) -> Tensor:
        """The layer takes them as one sequence."""
        return self._run(x, y, module, x.unsqueeze(0))[0]

    def tensors(self) -> Iterator[Tensor]:
        """All that the layer keeps, but for what is the base's."""
        own = {id(tensor) for tensor in self._base.parameters()}
        seen: set[int] = set()
        for part in self._layer.modules():
            held = [*part._parameters.values(), *part._buffers.values(), *_in(vars(part))]
            for tensor in held:
                if isinstance(tensor, Tensor) and id(tensor) not in own | seen and not isinstance(tensor, Borrowed):
                    seen.add(id(tensor))
                    yield tensor

    def misfit(self, in_features: int, out_features: int) -> str:
        size = (self._base.in_features, self._base.out_features) if isinstance(self._base, nn.Linear) else None
        return "" if size in (None, (in_features, out_features)) else f"its layer is {size}"

    @torch.no_grad()
    def check(self, dtype: torch.dtype) -> None:
        """Try the layer on a few rows, computed in `dtype`.

        Raises UnsupportedAdapterError when a row's result depends on the rows beside it or on chance, when
        the layer computes in fewer bits than it is given or writes to its input, and for a weight that is
        not to be had.
        """
        generator = torch.Generator().manual_seed(0)
        weight = self._base.weight
        out, width = tuple(weight.shape) if isinstance(self._base, nn.Linear) else tuple(weight.shape)[::-1]
        x = torch.randn(ROWS, width, generator=generator).to(weight.device, dtype)
        y = torch.randn(ROWS, out, generator=generator).to(x)

        def module(rows: Tensor) -> Tensor:
            return rows.sum(dim=-1, keepdim=True).expand(-1, out).clone()

        given = x.clone()
        with _Narrowing(x, y) as narrowing:
            together = self._run(x, y, module, x.unsqueeze(0))[0]
        if not torch.equal(x, given):
            raise UnsupportedAdapterError(f"{self._module}: the method writes to its input, which other modules read")
        if dtype == torch.float64 and narrowing.met:
            raise UnsupportedAdapterError(
                f"{self._module}: the method computes rows in {narrowing.met}, whatever it is given, "
                "which is not exact on an int8 base; served on an unquantized or nf4 one"
            )
        others = [self._run(x[i : i + 1], y[i : i + 1], module, x[None, i : i + 1])[0] for i in range(ROWS)]
        apart = self._run(x, y, module, x.unsqueeze(1))[:, 0]
        limit = TOLERANCE * max(1.0, float(together.abs().max()))
        for other in (torch.cat(others), apart):
            drift = float((together - other).abs().max())
            if not drift <= limit:
                raise UnsupportedAdapterError(
                    f"{self._module}: a row's result depends on the rows beside it, or on chance (by {drift:.1e})"
                )

    def _run(self, x: Tensor, y: Tensor, module: RunModule, shaped: Tensor) -> Tensor:
        self._lender.begin(x, y, module)
        try:
            result: Tensor = self._layer(shaped)
        finally:
            self._lender.end()
        if self._use == "turned":
            return module(result.reshape(-1, result.shape[-1])).view(*shaped.shape[:-1], -1)
        return result + y.view_as(result) if self._use == "added" else result


class _Narrowing(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the first result in fewer bits than fp64 among those that depend on the rows."""

    def __init__(self, *rows: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.met = ""
        self._dependent = {id(tensor): tensor for tensor in rows}  # held, so that no other takes an id

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if any(id(found) in self._dependent for found in tree_leaves((args, kwargs))):
            for tensor in tree_leaves(result):
                if isinstance(tensor, Tensor):
                    self._dependent[id(tensor)] = tensor
                    if tensor.dtype in NARROW and not self.met:
                        self.met = str(tensor.dtype).removeprefix("torch.")
        return result


def _in(attributes: Any) -> Iterator[Tensor]:
    """Tensors among a module's plain attributes, alone or by adapter."""
    for value in attributes.values():
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, dict):
            yield from (item for item in value.values() if isinstance(item, Tensor) and not isinstance(item, nn.Module))
