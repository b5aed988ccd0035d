"""One module of the base with the tensors of adapters around it, as PEFT's layers are built."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from adapterhub.base.site_io import input_of, output_of, with_input, with_output
from adapterhub.errors import PluginError
from adapterhub.method import BaseWeights, Method, MethodConfig, Params
from adapterhub.peft.site_tensors import SiteTensors


class SiteLayer(SiteTensors):
    """Runs `pre` on what goes into a module and `post` or `replace` on what comes out.

    The module may be a linear one, an attention block or a whole decoder layer. Everything else of
    it is reached through this layer as if it were not wrapped. A module that a site taps is wrapped
    too, to keep what it was last called with.
    """

    def __init__(self, base_layer: nn.Module, method: Method[Any], weights: BaseWeights, device: torch.device) -> None:
        super().__init__(method, weights, device)
        self.base_layer = base_layer
        self._tapped = False
        self._input: Tensor | None = None
        self._taps: dict[str, SiteLayer] = {}  # a plain dict: not a child of this module

    def tap(self, adapter: str, tapped: SiteLayer) -> None:
        """Have `adapter` get the input of another module as its `x` behind this one."""
        tapped._tapped = True
        self._taps[adapter] = tapped

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if self._tapped:
            self._input = input_of(args, kwargs)
        bound = {adapter: self.bound(adapter) for adapter in self.acting()}
        if not bound:
            return self.base_layer(*args, **kwargs)
        x = input_of(args, kwargs)
        if type(self.method).pre is not Method.pre:
            for adapter, p in bound.items():
                x = self._rowwise(self.method.pre, self.configs[adapter], p, x, like=x)
            args, kwargs = with_input(args, kwargs, x)
        output = self.base_layer(*args, **kwargs)
        y = output_of(output)
        for adapter, p in bound.items():
            y = self._behind(adapter, p, x, y)
        return with_output(output, y)

    def _behind(self, adapter: str, p: Params, x: Tensor, y: Tensor) -> Tensor:
        config, site = self.configs[adapter], self.sites[adapter]
        if site.tap:
            tapped = self._taps[adapter]._input
            if tapped is None:
                raise PluginError(f"method {self.method.name!r}: {site.tap} does not run before {site.module}")
            x = tapped
        if site.replaces:
            return self._rowwise(self.method.replace, config, p, x, like=y)
        return self._rowwise(self.method.post, config, p, x, y, like=y)

    def _rowwise(self, function: Any, config: MethodConfig, p: Params, *inputs: Tensor, like: Tensor) -> Tensor:
        """A method's function on `[rows, features]`, given back in the shape and dtype of `like`."""
        dtype = next((tensor.dtype for tensor in p.values() if tensor.is_floating_point()), like.dtype)
        result: Tensor = function(config, p, *(_rows(tensor, dtype) for tensor in inputs))
        wanted = _rows(like, dtype).shape
        if result.shape != wanted:
            raise PluginError(f"method {self.method.name!r}: gave {tuple(result.shape)} for rows of {tuple(wanted)}")
        return result.view(like.shape).to(like.dtype)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "base_layer":  # not set yet: asking it would recur
                raise
            return getattr(super().__getattr__("base_layer"), name)


def _rows(x: Tensor, dtype: torch.dtype) -> Tensor:
    """`[..., features]` as `[rows, features]` in `dtype`; an embedding's token ids `[...]` as `[rows]`."""
    return x.flatten(0, -2).to(dtype) if x.is_floating_point() else x.flatten()
