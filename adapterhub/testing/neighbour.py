"""A method for the other rows of a batch: it acts before and behind every linear module."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapterhub.method import BaseShape, Method, MethodConfig, Param, Params, Site

if TYPE_CHECKING:
    from torch import Tensor


class NeighbourConfig(MethodConfig):
    """No options."""


class Neighbour(Method[NeighbourConfig]):
    """y(x * (1 + scale)) + shift."""

    name = "contract_neighbour"
    peft_type = "CONTRACT_NEIGHBOUR"
    Config = NeighbourConfig

    def sites(self, config: NeighbourConfig, shape: BaseShape) -> list[Site]:
        sites = []
        for name in shape.linears:
            module = shape.modules[name]
            params = {"scale": Param((module.in_features,)), "shift": Param((module.out_features,))}
            sites.append(Site("module", params, module=name))
        return sites

    def pre(self, config: NeighbourConfig, p: Params, x: Tensor) -> Tensor:
        return x * (1 + p["scale"])

    def post(self, config: NeighbourConfig, p: Params, x: Tensor, y: Tensor) -> Tensor:
        return y + p["shift"]
