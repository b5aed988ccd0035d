"""Which bases the engine serves exactly: decoders whose only state is each layer's own keys and values.

Two looks. Config and modules tell by name what is known not to fit. Then two rows run through the
base, and what its layers ask of the attention function must be what the KV cache and the masks are
made for, so that a family nobody thought of is refused as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from adapterhub.base import BaseModel
from adapterhub.engine.attention_probe import Call, probe
from adapterhub.engine.runner import check_free
from adapterhub.errors import UnsupportedBaseError

LAYER_TYPES = frozenset(("full_attention", "sliding_attention"))
ROPE_OF_THE_LONGEST_ROW = ("dynamic", "longrope")
"""RoPE whose angles change for all rows when one grows long. Source: transformers, `dynamic_rope_update`."""
ACCEPTED = "served: decoders whose only state is per-layer keys and values (Llama, Qwen, Mistral, Gemma, GPT-2)"


def check_supported(base: BaseModel) -> None:
    """Raises UnsupportedBaseError with the reason when a base cannot be served exactly. Runs two rows.

    Raises ConflictError when another engine runs on the base.
    """
    model: Any = base.model
    check_free(model)
    reason = next(_known(model), None) or next(_met(base), None)
    if reason:
        raise UnsupportedBaseError(f"base {base.record.id} ({type(model).__name__}) {reason}; {ACCEPTED}")


def _known(model: Any) -> Iterator[str]:
    """Reasons that the config and the modules give."""
    config = model.config.get_text_config()
    if model.config.is_encoder_decoder or getattr(config, "add_cross_attention", False):
        yield "has cross attention"
    others = sorted(set(getattr(config, "layer_types", None) or ()) - LAYER_TYPES)
    if others:
        yield f"has layers of {', '.join(others)}"
    if getattr(model, "_is_stateful", False):
        yield "keeps recurrent or convolutional state"
    if shared := getattr(config, "num_kv_shared_layers", 0):
        yield f"shares keys and values between layers (num_kv_shared_layers {shared})"
    if getattr(config, "alibi", False) or config.model_type in ("bloom", "mpt"):
        yield "has position bias in its mask (ALiBi)"
    if getattr(config, "use_bidirectional_attention", False):
        yield "attends to later positions (use_bidirectional_attention)"
    if not model._supports_attention_backend:
        yield "computes attention by itself and takes no attention function"
    for module in model.modules():
        for kind in _rope_types(module):
            if any(name in kind for name in ROPE_OF_THE_LONGEST_ROW):
                yield f"has RoPE that depends on the longest row of a batch (rope_type {kind})"
        if getattr(module, "is_causal", True) is False:
            yield "attends to later positions"


def _rope_types(module: Any) -> list[str]:
    """A rotary embedding's types, one or one for each kind of layer; none for other modules."""
    found = getattr(module, "rope_type", None)
    return list(found.values()) if isinstance(found, dict) else [found] if isinstance(found, str) else []


def _met(base: BaseModel) -> Iterator[str]:
    """Reasons that two rows meet on their way through the base."""
    shape = base.shape
    try:
        calls = probe(base.model)
    except Exception as error:  # noqa: BLE001  whatever a family raises here, it would raise in every step
        yield f"does not run with the engine's attention: {type(error).__name__}: {error}"
        return
    layers = [call.layer for call in calls]
    if sorted(layers) != list(range(shape.num_layers)):
        odd = next(layer for layer in range(shape.num_layers + 1) if layers.count(layer) != 1)
        yield f"calls the attention function {layers.count(odd)} times in layer {odd}"
    for call in calls:
        yield from _misfits(call, (1, shape.num_kv_heads, 2, shape.head_dim))
    windows = {call.window for call in calls}
    if (window := _window(base.model.config.get_text_config())) and window not in windows:
        yield f"has a sliding window of {window}, but does not tell the attention function"
    if all(torch.allclose(call.keys[:, :, 0], call.keys[:, :, 1], rtol=1e-3, atol=1e-5) for call in calls):
        yield "does not follow the positions it is given"


def _misfits(call: Call, size: tuple[int, ...]) -> Iterator[str]:
    for name, tensor in (("keys", call.keys), ("values", call.values)):
        if tuple(tensor.shape) != size:
            _, heads, _, head_dim = tensor.shape
            yield f"has {name} of {heads} x {head_dim} in layer {call.layer}, not {size[1]} x {size[3]}"


def _window(config: Any) -> int | None:
    """The sliding window some layer must have; None when there is none."""
    kinds = getattr(config, "layer_types", None)
    if not getattr(config, "use_sliding_window", True) or (kinds and "sliding_attention" not in kinds):
        return None
    return getattr(config, "sliding_window", None)
