"""One PEFT tuner for every method that PEFT does not know: it follows the method's plan.

What is not covered: prompt sites, and merging. With a site on a decoder layer,
`output_hidden_states` reports that layer's output as it is before the adapter.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from peft import PeftConfig
from peft.tuners.tuners_utils import BaseTuner
from torch import nn

from adapterhub.base.shape import shape_of
from adapterhub.errors import PluginError, UnsupportedAdapterError
from adapterhub.method import BaseShape, Method, Plan, Site
from adapterhub.peft.config import SiteConfig
from adapterhub.peft.layer import SiteLayer

KEY_PREFIX = "base_model.model."


class SiteTuner(BaseTuner):
    """Wraps exactly the modules that the plan names. `tuner_class` makes one class per method."""

    method: ClassVar[Method[Any]]
    tuner_layer_cls = SiteLayer
    shape: BaseShape
    """Of the unwrapped base, taken before the first adapter."""

    def _pre_injection_hook(self, model: nn.Module, config: PeftConfig, adapter_name: str) -> None:
        self.shape = shape_of(model)

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
        config = peft_config.options()
        plan = self.method.plan(config, self.shape)
        _check_plan(self.method, plan)
        for site in plan.sites:
            layer = self._wrap(model, site.module)
            device = torch.device("meta") if low_cpu_mem_usage else next(layer.base_layer.parameters()).device
            layer.add(adapter_name, config, site, device)
        self.set_adapter(self.active_adapters, inference_mode=peft_config.inference_mode)
        self._mark_only_adapters_as_trainable(model)

    def _wrap(self, model: nn.Module, name: str) -> SiteLayer:
        """The layer around module `name` of the unwrapped base, made when there is none yet."""
        *path, leaf = name.split(".")
        parent = model
        for part in path:
            parent = _unwrapped(getattr(parent, part))
        found = getattr(parent, leaf)
        if not isinstance(found, SiteLayer):
            found = SiteLayer(found, self.method)
            setattr(parent, leaf, found)
        return found

    def _create_and_replace(self, *args: Any, **kwargs: Any) -> None:
        """Never called: `inject_adapter` does it."""
        raise NotImplementedError

    def unload(self) -> nn.Module:
        """Take all layers of the tuner out of the base again, which is as it was; the base."""
        for parent in list(self.model.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, SiteLayer):
                    setattr(parent, name, child.base_layer)
        del self.model.peft_config
        model: nn.Module = self.model
        return model

    def merge_and_unload(self, *args: Any, **kwargs: Any) -> nn.Module:
        raise UnsupportedAdapterError(f"method {self.method.name!r} has no merge into the base's weights")

    def merge_adapter(self, *args: Any, **kwargs: Any) -> None:
        raise UnsupportedAdapterError(f"method {self.method.name!r} has no merge into the base's weights")

    @classmethod
    def _remove_adapter_name_from_key(cls, key: str, adapter_name: str) -> str:
        """The name on disk is that of the unwrapped base: a site may lie inside another one's module."""
        saved: str = super()._remove_adapter_name_from_key(key, adapter_name)
        return saved.replace(".base_layer.", ".")


def tuner_class(method: Method[Any]) -> type[SiteTuner]:
    """The tuner of one method."""
    return type(f"{type(method).__name__}Tuner", (SiteTuner,), {"method": method, "prefix": f"{method.name}_"})


def _unwrapped(module: nn.Module) -> nn.Module:
    return module.base_layer if isinstance(module, SiteLayer) else module


def _check_plan(method: Method[Any], plan: Plan) -> None:
    for key, (site, param) in plan.tensor_keys.items():
        if site.kind != "module":
            raise UnsupportedAdapterError(
                f"method {method.name!r}: training at a {site.kind} site is not supported yet (supported: module)"
            )
        if key != (wanted := _key(method, site, param)):
            raise PluginError(f"method {method.name!r}: key {key!r} of a method outside PEFT must be {wanted!r}")


def _key(method: Method[Any], site: Site, param: str) -> str:
    return f"{KEY_PREFIX}{site.module}.{method.name}_{param}"
