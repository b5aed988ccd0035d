"""Bottleneck adapters: y + W_up f(W_down y), a small residual network behind a sublayer.

Sources: Houlsby et al. 2019, "Parameter-Efficient Transfer Learning for NLP" (arXiv:1902.00751);
Pfeiffer et al. 2020, "AdapterFusion" (arXiv:2005.00247). On pre-norm decoders the Houlsby adapter
acts on the attention's and on the feed-forward's output before each joins the residual; the
Pfeiffer adapter acts on the decoder layer's output.

What is not covered yet: the parallel placement.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from adapterhub import BaseShape, Method, MethodConfig, Param, Params, Site

Activation = Literal["relu", "gelu", "swish", "tanh"]
ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "gelu": functional.gelu,
    "swish": functional.silu,
    "tanh": functional.tanh,
}


class BottleneckConfig(MethodConfig):
    """Options of bottleneck adapters, under the names the `adapters` library gave them."""

    placement: Literal["houlsby", "pfeiffer"] = "pfeiffer"
    """houlsby: behind attention and feed-forward; pfeiffer: behind the whole layer."""
    reduction_factor: float = Field(default=16.0, gt=0)
    """The hidden size over the bottleneck's width."""
    non_linearity: Activation = "relu"
    """The function between the two projections."""


class Bottleneck(Method[BottleneckConfig]):
    """Not a method of PEFT's: trained by the core's generic tuner. The identity when it starts."""

    name = "bottleneck"
    peft_type = "BOTTLENECK"
    Config = BottleneckConfig

    def sites(self, config: BottleneckConfig, shape: BaseShape) -> list[Site]:
        if config.placement == "pfeiffer":
            modules = list(shape.layers)
        else:
            pairs = zip(shape.attention_outputs, shape.mlp_outputs, strict=True)
            modules = [module for pair in pairs for module in pair]
        width = max(1, int(shape.hidden_size / config.reduction_factor))
        params = {
            "down": Param((width, shape.hidden_size), init="kaiming_uniform"),
            "down_bias": Param((width,)),
            "up": Param((shape.hidden_size, width)),
            "up_bias": Param((shape.hidden_size,)),
        }
        return [Site("module", params, module=module) for module in modules]

    def post(self, config: BottleneckConfig, p: Params, x: Tensor, y: Tensor) -> Tensor:
        hidden = ACTIVATIONS[config.non_linearity](y @ p["down"].T + p["down_bias"])
        return y + hidden @ p["up"].T + p["up_bias"]
