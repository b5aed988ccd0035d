"""What a base's layers ask of the attention function, found by running two rows."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from adapterhub.engine.attention import check_options

NAME = "adapterhub_probe"


class Call(NamedTuple):
    """One call of the attention function."""

    layer: int
    keys: Tensor
    """[1, kv_heads, 2, head_dim]"""
    values: Tensor
    """[1, kv_heads, 2, head_dim]"""
    window: int | None


@torch.inference_mode()
def probe(model: Any) -> list[Call]:
    """The calls of one forward over the same token at positions 0 and 1, called as the engine calls the model.

    Attention over equal values is the value, so the rows stay equal unless positions make them differ.
    Raises whatever the model raises.
    """
    calls: list[Call] = []
    own = model.config._attn_implementation
    device = model.get_input_embeddings().weight.device
    try:
        model.set_attn_implementation(NAME)
        model(
            inputs_embeds=model.get_input_embeddings()(torch.zeros(1, 2, dtype=torch.long, device=device)),
            position_ids=torch.arange(2, device=device).unsqueeze(0),
            use_cache=False,
            attention_map=calls,
            logits_to_keep=torch.tensor([1], device=device),
        )
    finally:
        model.set_attn_implementation(own)
    return calls


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    attention_map: list[Call] | None = None,
    **rest: Any,
) -> tuple[Tensor, None]:
    check_options(attention_mask, rest)
    if attention_map is not None:
        attention_map.append(Call(int(module.layer_idx), key, value, sliding_window))  # type: ignore[arg-type]
    return value.repeat_interleave(query.shape[1] // value.shape[1], dim=1).transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, _attend)
