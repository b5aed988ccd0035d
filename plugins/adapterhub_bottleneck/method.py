"""Bottleneck adapters: a small network with a residual connection inside every decoder layer.

    houlsby    y + s * U f(D y)    y the attention's and the feed-forward part's output, before each joins the residual
    pfeiffer   y + s * U f(D y)    y the decoder layer's output
    parallel   y + s * U f(D x)    y the feed-forward part's output, x the residual in front of its norm

D projects to the bottleneck and U back, both with a bias; f is the non-linearity, s the scaling.
With norms behind the parts (Gemma, OLMo 2), their outputs are what joins the residual.

Sources: Houlsby et al. 2019, "Parameter-Efficient Transfer Learning for NLP" (arXiv:1902.00751);
Pfeiffer et al. 2020, "AdapterFusion" (arXiv:2005.00247); He et al. 2021, "Towards a Unified View of
Parameter-Efficient Transfer Learning" (arXiv:2110.04366). On decoders with a norm in front of each
part these are `double_seq_bn`, `seq_bn` and `par_bn` of the `adapters` library, whose own defaults are:

    houlsby    non_linearity swish, reduction_factor 16, scaling 1
    pfeiffer   non_linearity relu, reduction_factor 16, scaling 1
    parallel   non_linearity relu, reduction_factor 2, scaling 4

What is not covered: learned scaling, gating, norms and dropout inside the adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from adapterhub import (
    Adopted,
    BaseShape,
    ConfigError,
    Method,
    MethodConfig,
    OpActivation,
    Param,
    Params,
    Site,
    TrainDefaults,
)
from adapterhub import Bottleneck as BottleneckOp
from adapterhub_bottleneck import adapters_library

Activation = Literal["gelu", "gelu_new", "leakyrelu", "mish", "relu", "sigmoid", "silu", "swish", "tanh"]
ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "gelu_new": partial(functional.gelu, approximate="tanh"),
    "leakyrelu": functional.leaky_relu,
    "mish": functional.mish,
    "relu": functional.relu,
    "sigmoid": functional.sigmoid,
    "silu": functional.silu,
    "swish": functional.silu,
    "tanh": functional.tanh,
}
LOWERED: dict[str, OpActivation] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
"""Those that the core's op has."""
Factor = Annotated[float, Field(gt=0)]


class BottleneckConfig(MethodConfig):
    """Options of bottleneck adapters, under the names the `adapters` library gave them."""

    placement: Literal["houlsby", "parallel", "pfeiffer"] = "pfeiffer"
    """houlsby: behind attention and feed-forward; pfeiffer: behind the whole layer; parallel: beside feed-forward."""
    reduction_factor: Factor | dict[str, Factor] = 16.0
    """The hidden size over the bottleneck's width; by layer as {"0": 8, "default": 16}."""
    non_linearity: Activation = "relu"
    """The function between the two projections."""
    scaling: float = Field(default=1.0, gt=0)
    """Factor on what the adapter adds."""
    leave_out: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Decoder layers without an adapter, counted from 0."""


class Bottleneck(Method[BottleneckConfig]):
    """Not a method of PEFT's: trained by the core's generic tuner. The identity when it starts."""

    name = "bottleneck"
    peft_type = "BOTTLENECK"
    Config = BottleneckConfig
    training_defaults = TrainDefaults(
        learning_rate=0.0001,
        epochs=10.0,
        source="the adapters library's guide to training, which makes 10 epochs",
    )

    def sites(self, config: BottleneckConfig, shape: BaseShape) -> list[Site]:
        _check_layers(config, shape)
        found = []
        for layer in range(shape.num_layers):
            if layer not in config.leave_out:
                params = _params(_width(config, layer, shape), shape.hidden_size)
                tap = shape.mlp_inputs[layer] if config.placement == "parallel" else ""
                found += [Site("module", params, module, tap) for module in _modules(config, layer, shape)]
        return found

    def adopt(self, values: Mapping[str, Any], *, where: str) -> Adopted | None:
        def key(module: str, param: str) -> str:
            return self.key(Site("module", {}, module), param)

        return adapters_library.adopt(values, key, where=where)

    def post(self, config: BottleneckConfig, p: Params, x: Tensor, y: Tensor) -> Tensor:
        source = x if config.placement == "parallel" else y
        hidden = ACTIVATIONS[config.non_linearity](source @ p["down"].T + p["down_bias"])
        return y + (hidden @ p["up"].T + p["up_bias"]) * config.scaling

    def lower(self, config: BottleneckConfig, site: Site, p: Params) -> BottleneckOp | None:
        activation = LOWERED.get(config.non_linearity)
        if activation is None:
            return None
        up, shift = p["up"] * config.scaling, p["up_bias"] * config.scaling
        reads_output = config.placement != "parallel"
        return BottleneckOp(p["down"], up, p["down_bias"], shift, activation, reads_output)


def _modules(config: BottleneckConfig, layer: int, shape: BaseShape) -> list[str]:
    if config.placement == "houlsby":
        return [shape.attention_outputs[layer], shape.mlp_outputs[layer]]
    return [shape.layers[layer] if config.placement == "pfeiffer" else shape.mlp_outputs[layer]]


def _params(width: int, hidden: int) -> dict[str, Param]:
    return {
        "down": Param((width, hidden), init="kaiming_uniform"),
        "down_bias": Param((width,)),
        "up": Param((hidden, width)),
        "up_bias": Param((hidden,)),
    }


def _width(config: BottleneckConfig, layer: int, shape: BaseShape) -> int:
    factor = config.reduction_factor
    if isinstance(factor, dict):
        if str(layer) not in factor and "default" not in factor:
            raise ConfigError(f"reduction_factor: nothing for layer {layer} and no default", field="reduction_factor")
        factor = factor.get(str(layer), factor.get("default", 1.0))
    return max(1, int(shape.hidden_size // factor))


def _check_layers(config: BottleneckConfig, shape: BaseShape) -> None:
    if not shape.mlp_outputs:
        raise ConfigError(
            f"method bottleneck: not defined for the layers of {shape.architecture} (defined for norms in front of "
            "attention and feed-forward, as in Llama and GPT-2, and behind them, as in Gemma 2 and OLMo 2)",
            field="method",
        )
    known = [str(layer) for layer in range(shape.num_layers)]
    by_layer = config.reduction_factor if isinstance(config.reduction_factor, dict) else {}
    named = {"leave_out": map(str, config.leave_out), "reduction_factor": by_layer.keys() - {"default"}}
    for field, layers in named.items():
        for layer in sorted(set(layers) - set(known)):
            raise ConfigError(
                f"{field}: there is no layer {layer} (accepted: 0 to {shape.num_layers - 1})", field=field
            )
    if len(set(config.leave_out)) == shape.num_layers:
        raise ConfigError("leave_out: no layer is left for an adapter", field="leave_out")
