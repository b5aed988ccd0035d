"""The tensors that adapters keep at one site of a base, switched by PEFT as its own layers are."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from adapterhub.errors import UnsupportedAdapterError
from adapterhub.method import BaseWeights, Method, MethodConfig, Param, Params, Site

PREFIX = "adapterhub_"
"""Of our attributes in the module tree: PEFT tells by it what an adapter's tensor is. No base has it."""


class SiteTensors(nn.Module, BaseTunerLayer):
    """Base of the layers that make a method act. Tensors stand by adapter name, in fp32.

    `bind` runs in every forward, so that gradients pass derived tensors too. What is not covered:
    optional tensors, which a new adapter has not and a file's are not read into.
    """

    adapter_layer_names: tuple[str, ...]
    other_param_names = ("configs", "sites")

    def __init__(self, method: Method[Any], weights: BaseWeights, device: torch.device) -> None:
        super().__init__()
        self.method = method
        self.configs: dict[str, MethodConfig] = {}
        self.sites: dict[str, Site] = {}
        self.adapter_layer_names = ()
        self.frozen_peft_weight_names: dict[str, tuple[str, ...]] = {}
        self.merged_adapters: list[str] = []
        self._weights = weights
        self._device = device
        self._shared: dict[str, SiteTensors] = {}  # a plain dict: no children of this module

    def share(self, adapter: str, shared: SiteTensors) -> None:
        """Have `adapter` get beside this site's tensors those that all its sites have in common."""
        self._shared[adapter] = shared

    def add(self, adapter: str, config: MethodConfig, site: Site, *, meta: bool) -> None:
        """Keep fresh tensors for `adapter`, not active yet; with `meta`, their values come later."""
        params = {name: param for name, param in site.params.items() if not param.optional}
        self.configs[adapter] = config
        self.sites[adapter] = replace(site, params=params)
        for name, param in params.items():
            attribute = PREFIX + name
            if attribute not in self.adapter_layer_names:
                setattr(self, attribute, nn.ParameterDict())
                self.adapter_layer_names = (*self.adapter_layer_names, attribute)
            tensor = new_tensor(param, torch.device("meta") if meta else self._device)
            getattr(self, attribute)[adapter] = nn.Parameter(tensor, requires_grad=param.trainable)
        self.frozen_peft_weight_names[adapter] = tuple(
            PREFIX + name for name, param in params.items() if not param.trainable
        )

    def acting(self) -> list[str]:
        """The adapters that are active and have this site."""
        return [] if self.disable_adapters else [name for name in self.active_adapters if name in self.configs]

    def bound(self, adapter: str) -> Params:
        """What the method's functions get as `p`."""
        site = self.sites[adapter]
        p: Params = {name: getattr(self, PREFIX + name)[adapter] for name in site.params}
        if adapter in self._shared:
            p = {**self._shared[adapter].bound(adapter), **p}
        return self.method.bind(self.configs[adapter], site, p, self._weights)

    def names(self, adapter: str) -> dict[str, str]:
        """Name on disk -> name in this module's state, of every tensor of an adapter."""
        if adapter not in self.sites:
            return {}
        site = self.sites[adapter]
        return {self.method.key(site, name): f"{PREFIX}{name}.{adapter}" for name in site.params}

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        raise UnsupportedAdapterError(f"method {self.method.name!r} has no merge into the base's weights")

    def unmerge(self) -> None:
        """Nothing to do: nothing is ever merged."""

    def supports_lora_conversion(self, adapter_name: str = "default") -> bool:
        return False

    def _move_adapter_to_device_of_base_layer(self, adapter_name: str, device: torch.device | None = None) -> None:
        """As PEFT's, but a tensor keeps its dtype."""
        for attribute in self.adapter_layer_names:
            tensors = getattr(self, attribute)
            if adapter_name in tensors and tensors[adapter_name].device.type != "meta":
                tensors[adapter_name] = tensors[adapter_name].to(device or self._device)


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
