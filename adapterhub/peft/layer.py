"""One module of the base with the tensors of adapters around it, as PEFT's layers are built."""

from __future__ import annotations

import inspect
import math
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from adapterhub.errors import UnsupportedAdapterError
from adapterhub.method import Method, MethodConfig, Param, Params, Site


class SiteLayer(nn.Module, BaseTunerLayer):
    """Runs `pre` on what goes into a module and `post` on what comes out, for the active adapters.

    The module may be a linear one, an attention block or a whole decoder layer: its input is its
    first argument, given by place or by name, and its output a tensor or the first of a tuple.
    Everything else of the module is reached through this layer as if it were not wrapped.
    Tensors of a parameter are kept under `{method}_{param}`, by adapter name, in fp32.
    """

    adapter_layer_names: tuple[str, ...]
    other_param_names = ("configs",)

    def __init__(self, base_layer: nn.Module, method: Method[Any]) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.method = method
        self.configs: dict[str, MethodConfig] = {}
        self.adapter_layer_names = ()
        self.frozen_peft_weight_names: dict[str, tuple[str, ...]] = {}
        self.merged_adapters: list[str] = []
        self._input_name = next(iter(inspect.signature(base_layer.forward).parameters))

    def add(self, adapter: str, config: MethodConfig, site: Site, device: torch.device) -> None:
        """Keep fresh tensors for `adapter`; not active yet."""
        self.configs[adapter] = config
        for name, param in site.params.items():
            attribute = self._attribute(name)
            if attribute not in self.adapter_layer_names:
                setattr(self, attribute, nn.ParameterDict())
                self.adapter_layer_names = (*self.adapter_layer_names, attribute)
            getattr(self, attribute)[adapter] = nn.Parameter(new_tensor(param, device), requires_grad=param.trainable)
        self.frozen_peft_weight_names[adapter] = tuple(
            self._attribute(name) for name, param in site.params.items() if not param.trainable
        )

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        active = [] if self.disable_adapters else [name for name in self.active_adapters if name in self.configs]
        if not active:
            return self.base_layer(*args, **kwargs)
        x = args[0] if args else kwargs[self._input_name]
        for adapter in active:
            config, p = self.configs[adapter], self._params(adapter)
            x = self.method.pre(config, p, x.to(_dtype(p))).to(x.dtype)
        if args:
            args = (x, *args[1:])
        else:
            kwargs[self._input_name] = x
        output = self.base_layer(*args, **kwargs)
        y = output[0] if isinstance(output, tuple) else output
        for adapter in active:
            config, p = self.configs[adapter], self._params(adapter)
            y = self.method.post(config, p, x.to(_dtype(p)), y.to(_dtype(p))).to(y.dtype)
        return (y, *output[1:]) if isinstance(output, tuple) else y

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        raise UnsupportedAdapterError(f"method {self.method.name!r} has no merge into the base's weights")

    def unmerge(self) -> None:
        """Nothing to do: nothing is ever merged."""

    def supports_lora_conversion(self, adapter_name: str = "default") -> bool:
        return False

    def _attribute(self, param: str) -> str:
        return f"{self.method.name}_{param}"

    def _params(self, adapter: str) -> Params:
        start = len(self.method.name) + 1
        stored = {name[start:]: getattr(self, name) for name in self.adapter_layer_names}
        return {name: tensors[adapter] for name, tensors in stored.items() if adapter in tensors}

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "base_layer":  # not set yet: asking it would recur
                raise
            return getattr(super().__getattr__("base_layer"), name)


def new_tensor(param: Param, device: torch.device) -> Tensor:
    """A tensor of `param.shape` in fp32, filled as `param.init` says."""
    tensor = torch.zeros(param.shape, dtype=torch.float32, device=device)
    if param.init == "ones":
        nn.init.ones_(tensor)
    elif param.init == "normal":
        nn.init.normal_(tensor, std=param.std)
    elif param.init == "kaiming_uniform":
        nn.init.kaiming_uniform_(tensor, a=math.sqrt(5))
    return tensor


def _dtype(p: Params) -> torch.dtype:
    return next(iter(p.values())).dtype
