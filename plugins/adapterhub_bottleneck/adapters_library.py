"""Bottleneck adapters as the `adapters` library saves them (adapter-hub.org), in this plugin's terms.

With h a part's output, r the residual in front of it and A(x) = s * U f(D x), a decoder layer with norms in front
of its parts computes there, in place of h + r, for each part that has an adapter:

    seq_bn           h + A(h + r) + r    original_ln_before: the layer's output through a bottleneck    pfeiffer
    double_seq_bn    h + A(h) + r        each part's own output through a bottleneck                    houlsby
    par_bn           h + A(r) + r        is_parallel                                                    parallel

`adapter_config.json` holds the options under "config"; the tensors of adapter NAME are in
`adapter.safetensors` as `{layer}.output_adapters.adapters.NAME.adapter_down.0.weight` and `.adapter_up.weight`,
with their biases, and `attention_adapters` behind attention.

Source: the library's documentation, https://docs.adapterhub.ml/methods, and what its release 1.3.0 writes.

What is not covered: every other way to place residual connections and norms, learned scaling, gates, invertible
and hypercomplex (`phm_layer`) adapters, prediction heads, and models other than those in `LAYERS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from torch import Tensor

from adapterhub import Adopted, MethodConfig, UnsupportedAdapterError


class Layer(NamedTuple):
    """Names in a model whose layers the library itself rewrites, with norms in front of both parts."""

    layers: str
    attention: str
    mlp: str


LAYERS = {
    "gpt2": Layer("transformer.h", "attn", "mlp"),
    "llama": Layer("model.layers", "self_attn", "mlp"),
    "mistral": Layer("model.layers", "self_attn", "mlp"),
}
"""By `model_type`."""

TENSORS_FILE = "adapter.safetensors"
MAX_NAME = 256
"""Characters, as of a tensor's name."""
HEAD = "a prediction head, which the library may train along, is not converted; remove it if it is the base's own"
REFUSED = {
    "adapter_interface.json": "adapters hooked into a model by an interface are placed differently and not converted",
    "embedding.pt": "embeddings are not converted",
    "model_head.safetensors": HEAD,
    "pytorch_model_head.bin": HEAD,
}

PARAMS = {"down.0.weight": "down", "down.0.bias": "down_bias", "up.weight": "up", "up.bias": "up_bias"}

TRAINING = frozenset(("dropout", "init_weights", "init_weights_seed", "stochastic_depth"))
"""Options that change nothing in a trained adapter."""
WITH_ANOTHER = frozenset(("adapter_residual_before_ln", "inv_adapter_reduction_factor"))
"""Those that only matter with `ln_after` and `inv_adapter`, which are refused."""
HYPERCOMPLEX = frozenset(
    (
        "factorized_phm_W",
        "factorized_phm_rule",
        "hypercomplex_nonlinearity",
        "learn_phm",
        "phm_bias",
        "phm_c_init",
        "phm_dim",
        "phm_init_range",
        "phm_rank",
        "shared_W_phm",
        "shared_phm_rule",
    )
)
"""Those that only matter with `phm_layer`, which is refused."""

Key = Callable[[str, str], str]
"""Module and parameter -> our tensor name."""


class SavedConfig(MethodConfig):
    """The options that matter when serving, with the library's defaults."""

    neutral = TRAINING | WITH_ANOTHER | HYPERCOMPLEX
    mh_adapter: bool
    """Behind attention."""
    output_adapter: Literal[True]
    """Behind the feed-forward part."""
    is_parallel: bool = False
    """On the residual in front of the part."""
    original_ln_before: bool = False
    """The adapter's input is after the residual connection."""
    original_ln_after: Literal[True] = True
    """The residual connection is behind the adapter."""
    residual_before_ln: bool | Literal["post_add"] = True
    """The adapter's own residual is the part's output."""
    scaling: float = 1.0
    """A number; a learned one is not served."""
    non_linearity: str
    """In upper or lower case."""
    reduction_factor: Any
    """As this plugin's own option, as is the next."""
    leave_out: Any = ()

    def placement(self, where: str) -> str:
        """Where this plugin puts such adapters. Raises UnsupportedAdapterError naming the options that differ."""
        if self.is_parallel:
            return self._placed("parallel", where, mh_adapter=False)
        if self.mh_adapter:
            return self._placed("houlsby", where, original_ln_before=False, residual_before_ln=True)
        return self._placed("pfeiffer", where, original_ln_before=True, residual_before_ln=True)

    def _placed(self, placement: str, where: str, **needed: bool) -> str:
        differing = [
            f"{name}={getattr(self, name)!r}" for name, value in needed.items() if getattr(self, name) != value
        ]
        if differing:
            options = ", ".join(f"{name}={value}" for name, value in needed.items())
            raise UnsupportedAdapterError(
                f"{where}: {' and '.join(differing)} is not served; the nearest is {placement}, which has {options}"
            )
        return placement


def adopt(values: Mapping[str, Any], key: Key, *, where: str) -> Adopted | None:
    """See `Method.adopt`."""
    config, version = values.get("config"), str(values.get("version"))
    if not version.startswith("adapters."):
        return None
    if not isinstance(config, Mapping):
        raise UnsupportedAdapterError(f"{where}: config: need the options themselves")
    if (architecture := config.get("architecture")) is not None:
        raise UnsupportedAdapterError(f"{where}: architecture {architecture!r}; converted: bottleneck adapters")
    if (model := str(values.get("model_type"))) not in LAYERS:
        raise UnsupportedAdapterError(f"{where}: model_type {model!r} (converted: {', '.join(LAYERS)})")
    saved = SavedConfig.from_peft(config, where=where)
    placement = saved.placement(where)
    name = values.get("name")
    if not isinstance(name, str) or len(name) > MAX_NAME:
        raise UnsupportedAdapterError(f"{where}: name: need text of at most {MAX_NAME} characters")

    def convert(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {_renamed(tensor, name, LAYERS[model], placement, key): tensors[tensor] for tensor in tensors}

    return Adopted(
        source={
            "library": "adapters",
            "version": version.removeprefix("adapters."),
            "adapter": name,
            "model": str(values.get("model_name"))[:MAX_NAME],
        },
        options={
            "placement": placement,
            "reduction_factor": saved.reduction_factor,
            "non_linearity": saved.non_linearity.lower(),
            "scaling": saved.scaling,
            "leave_out": saved.leave_out,
        },
        tensors_file=TENSORS_FILE,
        convert=convert,
        refused=REFUSED,
    )


def _renamed(tensor: str, adapter: str, layer: Layer, placement: str, key: Key) -> str:
    """Our name of one of the library's tensors. Raises UnsupportedAdapterError naming one that has no place here."""
    modules = {"output": "" if placement == "pfeiffer" else layer.mlp}
    if placement == "houlsby":
        modules["attention"] = layer.attention
    name = rf"({re.escape(layer.layers)}\.\d+)\.(\w+)_adapters\.adapters\.{re.escape(adapter)}\.adapter_(.+)"
    found = re.fullmatch(name, tensor)
    if found is None or found[2] not in modules or found[3] not in PARAMS:
        raise UnsupportedAdapterError(
            f"{TENSORS_FILE}: tensor {tensor!r} is none of a {placement} adapter {adapter!r} in {layer.layers}"
        )
    return key(f"{found[1]}.{modules[found[2]]}".rstrip("."), PARAMS[found[3]])
