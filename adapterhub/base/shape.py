"""The shape of a base model, read from its config on the meta device: no weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from adapterhub.base.layout import layout_of
from adapterhub.errors import BaseNotFoundError
from adapterhub.method import BaseShape, ModuleKind, ModuleShape

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel

ATTENTION_NAMES = ("self_attn", "attn", "attention", "self_attention")
MLP_NAMES = ("mlp", "feed_forward", "ffn")


def read_shape(folder: Path) -> BaseShape:
    """The shape of the causal language model in a folder, from `config.json` alone. Raises as `read_empty`."""
    return read_empty(folder)[1]


def read_empty(folder: Path) -> tuple[PreTrainedModel, BaseShape]:
    """The model in a folder on the meta device, every module of it and no value, and its shape.

    Raises BaseNotFoundError when the folder holds no config of a known, unquantized causal language model.
    """
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        if getattr(config, "quantization_config", None):
            raise ValueError("its weights are quantized already; need the floating model it was made from")
        with torch.device("meta"):
            model: PreTrainedModel = AutoModelForCausalLM.from_config(config, trust_remote_code=False)  # type: ignore[no-untyped-call]
        return model, shape_of(model)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise BaseNotFoundError(f"{folder}: not a causal language model: {error}", resource=str(folder)) from None


def shape_of(model: nn.Module) -> BaseShape:
    """The shape of a model, wherever its weights are (works on the meta device)."""
    config: Any = model.config
    text = config.get_text_config()
    positions = _max_positions(model, text)
    layers = _layers(model, text.num_hidden_layers)
    hidden = text.hidden_size
    modules: dict[str, ModuleShape] = {}
    for name, module in model.named_modules():
        found = _leaf_shape(module)
        if found is not None:
            modules[name] = found
    found_layouts = []
    for layer in layers:
        parts = dict(model.get_submodule(layer).named_children())
        modules[layer] = ModuleShape("layer", hidden, hidden)
        modules[_part(layer, parts, ATTENTION_NAMES, "attention")] = ModuleShape("attention", hidden, hidden)
        modules[_part(layer, parts, MLP_NAMES, "mlp")] = ModuleShape("mlp", hidden, hidden)
        norms = {name for name, part in parts.items() if _is_norm(part)}
        found_layouts.append(layout_of(parts.keys(), norms))
    layouts = [layout for layout in found_layouts if layout is not None]
    known = list(zip(layers, layouts, strict=True)) if len(layouts) == len(layers) else []
    head_dim = getattr(text, "head_dim", None) or hidden // text.num_attention_heads
    return BaseShape(
        architecture=type(model).__name__,
        hidden_size=hidden,
        num_layers=len(layers),
        num_kv_heads=getattr(text, "num_key_value_heads", None) or text.num_attention_heads,
        head_dim=head_dim,
        vocab_size=text.vocab_size,
        max_positions=positions,
        modules=modules,
        layers=tuple(layers),
        attention_outputs=tuple(f"{layer}.{layout.attention_output}" for layer, layout in known),
        mlp_outputs=tuple(f"{layer}.{layout.mlp_output}" for layer, layout in known),
        mlp_inputs=tuple(f"{layer}.{layout.mlp_input}" for layer, layout in known),
        lm_head=_name_of(model, model.get_output_embeddings()),  # type: ignore[operator]
        embedding=_name_of(model, model.get_input_embeddings()),  # type: ignore[operator]
        tied=bool(getattr(text, "tie_word_embeddings", False)),
    )


def _layers(model: nn.Module, count: int) -> list[str]:
    """The decoder layers: the one list as long as the config says the model is deep."""
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return [f"{name}.{index}" for index in range(count)]
    raise BaseNotFoundError(f"{type(model).__name__}: found no list of {count} decoder layers")


def _max_positions(model: nn.Module, text: Any) -> int:
    """The longest context; models that have none keep recurrent state or bias their mask (ALiBi)."""
    positions: int | None = getattr(text, "max_position_embeddings", None)
    if positions is None:
        raise BaseNotFoundError(
            f"{type(model).__name__}: no max_position_embeddings (recurrent state or ALiBi?); "
            "need a decoder whose only state is per-layer keys and values"
        )
    return positions


def _part(layer: str, parts: dict[str, nn.Module], names: tuple[str, ...], kind: ModuleKind) -> str:
    """A layer's attention or feed-forward module."""
    part = next((name for name in names if name in parts), None)
    if part is None:
        raise BaseNotFoundError(f"{layer}: no {kind} module; known names: {', '.join(names)}")
    return f"{layer}.{part}"


def _leaf_shape(module: nn.Module) -> ModuleShape | None:
    if isinstance(module, nn.Linear):
        return ModuleShape("linear", module.in_features, module.out_features, bias=module.bias is not None)
    if isinstance(module, Conv1D):
        return ModuleShape("conv1d", module.weight.shape[0], module.nf, bias=True)
    if isinstance(module, nn.Embedding):
        return ModuleShape("embedding", module.num_embeddings, module.embedding_dim)
    if _is_norm(module):
        width = len(module.weight)  # type: ignore[arg-type]
        return ModuleShape("norm", width, width, bias=getattr(module, "bias", None) is not None)
    return None


def _is_norm(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return type(module).__name__.endswith("Norm") and isinstance(weight, nn.Parameter) and weight.ndim == 1


def _name_of(model: nn.Module, part: nn.Module) -> str:
    return str(next(name for name, module in model.named_modules() if module is part))
