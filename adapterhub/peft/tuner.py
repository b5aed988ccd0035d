"""One PEFT tuner for every method that PEFT does not know: it follows the method's plan.

What is not covered: merging. With a site on a decoder layer, `output_hidden_states` reports that
layer's output as it is before the adapter.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from peft import PeftConfig
from peft.tuners.tuners_utils import BaseTuner
from torch import nn

from adapterhub.base.shape import shape_of
from adapterhub.base.weights_view import WeightsView
from adapterhub.errors import UnsupportedAdapterError
from adapterhub.method import BaseShape, Method, MethodConfig, Site
from adapterhub.peft.config import SiteConfig
from adapterhub.peft.front import Front
from adapterhub.peft.layer import SiteLayer
from adapterhub.peft.site_tensors import PREFIX, SiteTensors

FRONT = "front"
"""The child of the model that holds the tensors of kv and prompt sites."""
SHARED = "shared"
"""The child of the model that holds the tensors that sites have in common."""


class SiteTuner(BaseTuner):
    """Wraps exactly the modules that the plan names. `tuner_class` makes one class per method.

    Tensors are saved and loaded under the names that `Method.key` gives them, wherever they stand.
    """

    method: ClassVar[Method[Any]]
    prefix = PREFIX
    tuner_layer_cls = SiteTensors
    shape: BaseShape
    """Of the unwrapped base, taken before the first adapter."""
    weights: WeightsView
    """Of the unwrapped base."""

    def _pre_injection_hook(self, model: nn.Module, config: PeftConfig, adapter_name: str) -> None:
        self.shape = shape_of(model)
        self.weights = WeightsView(model)

    def inject_adapter(
        self,
        model: nn.Module,
        adapter_name: str,
        autocast_adapter_dtype: bool = True,
        low_cpu_mem_usage: bool = False,
        state_dict: dict[str, torch.Tensor] | None = None,
    ) -> None:
        """Wrap the plan's modules and keep fresh tensors there.

        Replaces PEFT's search by `target_modules`: a plan names its modules exactly.
        """
        peft_config = self.peft_config[adapter_name]
        assert isinstance(peft_config, SiteConfig)
        config: MethodConfig = peft_config.options()
        plan = self.method.plan(config, self.shape)
        for site in plan.sites:
            place = self._place(model, adapter_name, site)
            place.add(adapter_name, config, site, meta=low_cpu_mem_usage)
            if plan.sites[0].kind == "shared" and site.kind != "shared":
                place.share(adapter_name, getattr(model, SHARED))
        self.set_adapter(self.active_adapters, inference_mode=peft_config.inference_mode)
        self._mark_only_adapters_as_trainable(model)

    def _place(self, model: nn.Module, adapter: str, site: Site) -> SiteTensors:
        """The layer that makes `site` act, made when there is none yet."""
        if site.kind == "module":
            layer = self._wrap(model, site.module)
            if site.tap:
                layer.tap(adapter, self._wrap(model, site.tap))
            return layer
        name = SHARED if site.kind == "shared" else FRONT
        if not hasattr(model, name):
            device = _device(model, model)
            if site.kind == "shared":
                model.add_module(name, SiteTensors(self.method, self.weights, device))
            else:
                model.add_module(name, Front(model, self.method, self.shape, self.weights, device))
        place: SiteTensors = getattr(model, name)
        return place

    def _wrap(self, model: nn.Module, name: str) -> SiteLayer:
        """The layer around module `name` of the unwrapped base, made when there is none yet."""
        *path, leaf = name.split(".")
        parent = model
        for part in path:
            parent = _unwrapped(getattr(parent, part))
        found = getattr(parent, leaf)
        if not isinstance(found, SiteLayer):
            found = SiteLayer(found, self.method, self.weights, _device(found, model))
            setattr(parent, leaf, found)
        return found

    def _create_and_replace(self, *args: Any, **kwargs: Any) -> None:
        """Never called: `inject_adapter` does it."""
        raise NotImplementedError("SiteTuner wraps modules in inject_adapter")

    def unload(self) -> nn.Module:
        """Take all layers of the tuner out of the base again, which is as it was; the base."""
        for parent in list(self.model.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, SiteLayer):
                    setattr(parent, name, child.base_layer)
                elif isinstance(child, Front):
                    child.remove()
                    delattr(parent, name)
                elif isinstance(child, SiteTensors):
                    delattr(parent, name)
        del self.model.peft_config
        model: nn.Module = self.model
        return model

    def merge_and_unload(self, *args: Any, **kwargs: Any) -> nn.Module:
        raise UnsupportedAdapterError(f"method {self.method.name!r} has no merge into the base's weights")

    def merge_adapter(self, *args: Any, **kwargs: Any) -> None:
        raise UnsupportedAdapterError(f"method {self.method.name!r} has no merge into the base's weights")

    @classmethod
    def _get_adapter_state_dict(
        cls, model: nn.Module, config: PeftConfig, adapter_name: str, state_dict: dict[str, Any], *_: Any, **__: Any
    ) -> dict[str, Any]:
        """What is saved of an adapter, by the names on disk."""
        return {on_disk: state_dict[name] for on_disk, name in _keys(model, adapter_name)}

    @classmethod
    def _remap_adapter_state_dict_for_load(
        cls, model: nn.Module, config: PeftConfig, adapter_name: str, state_dict: dict[str, Any]
    ) -> dict[str, Any]:
        """What was read from disk, by the names in the model."""
        names = dict(_keys(model, adapter_name))
        return {names.get(on_disk, on_disk): tensor for on_disk, tensor in state_dict.items()}

    @classmethod
    def _remove_adapter_name_from_key(cls, key: str, adapter_name: str) -> str:
        """Nothing to remove: the names on disk have none."""
        return key


def tuner_class(method: Method[Any]) -> type[SiteTuner]:
    """The tuner of one method."""
    return type(f"{type(method).__name__}Tuner", (SiteTuner,), {"method": method})


def _keys(model: nn.Module, adapter: str) -> Iterator[tuple[str, str]]:
    """Name on disk and name in the state of `model`, of every tensor of an adapter."""
    for name, module in model.named_modules():
        if isinstance(module, SiteTensors):
            for on_disk, own in module.names(adapter).items():
                yield on_disk, f"{name}.{own}" if name else own


def _unwrapped(module: nn.Module) -> nn.Module:
    return module.base_layer if isinstance(module, SiteLayer) else module


def _device(module: nn.Module, model: nn.Module) -> torch.device:
    """Where a module computes: a norm without a weight stands where the model begins."""
    return next((parameter.device for parameter in module.parameters()), next(model.parameters()).device)
