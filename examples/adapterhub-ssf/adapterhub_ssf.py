"""SSF: every feature that a linear module gives is scaled and shifted, y' = scale * y + shift.

Source: Lian et al. 2022, "Scaling & Shifting Your Features" (arXiv:2210.08823).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapterhub import BaseShape, Method, MethodConfig, Names, Param, Params, Site, hookimpl, select_modules

if TYPE_CHECKING:
    from torch import Tensor

    from adapterhub.method import Register


class SSFConfig(MethodConfig):
    target_modules: Names = "all-linear"
    """Linear modules whose output is changed: names, all-linear, or a regular expression for whole names."""


class SSF(Method[SSFConfig]):
    name, peft_type, Config = "ssf", "SSF", SSFConfig

    def sites(self, config: SSFConfig, shape: BaseShape) -> list[Site]:
        sites = []
        for name in select_modules(config.target_modules, shape, field_name="target_modules"):
            width = (shape.modules[name].out_features,)
            sites.append(Site("module", {"scale": Param(width, init="ones"), "shift": Param(width)}, module=name))
        return sites

    def post(self, config: SSFConfig, p: Params, x: Tensor, y: Tensor) -> Tensor:
        return p["scale"] * y + p["shift"]


@hookimpl
def register_methods(register: Register) -> None:
    register(SSF())
