"""Tiny bases of three families that LoRA's tests share: Llama, GPT-2 (transposed linears, biases), Gemma 2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
)

PEFT_SAYS = [
    # A tied side in the adapter is exact as long as nothing is merged.
    pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning"),
    # PEFT finds GPT-2's transposed linears itself.
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to (False|True) but the target module:UserWarning"),
    # A bias of B is a vector by intent.
    pytest.mark.filterwarnings("ignore:.*LoRA tensor\\(s\\) have invalid shape.*"),
    pytest.mark.filterwarnings("ignore:`lora_bias=True` was passed but the targeted layer"),
    pytest.mark.filterwarnings("ignore:The following rank_pattern keys did not match:RuntimeWarning"),
]
"""Notes of PEFT's that do not matter here."""

SIZES: dict[str, Any] = {
    "vocab_size": 258,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}
FAMILIES: dict[str, Callable[[], PreTrainedConfig]] = {
    "llama": lambda: LlamaConfig(**SIZES, tie_word_embeddings=False),
    "tied": lambda: LlamaConfig(**SIZES, tie_word_embeddings=True),
    "gpt2": lambda: GPT2Config(
        vocab_size=258, n_embd=32, n_layer=3, n_head=4, n_positions=256, bos_token_id=0, eos_token_id=1,
        pad_token_id=1, initializer_range=0.2,
    ),
    "gemma2": lambda: Gemma2Config(**SIZES, sliding_window=64, query_pre_attn_scalar=16),
}  # fmt: skip


def bare(family: str) -> PreTrainedModel:
    """A random model of the family; biases and norms are random too, so that they count."""
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(FAMILIES[family]())  # type: ignore[no-untyped-call]
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.data += 0.1 * torch.randn_like(parameter)
    model.train(False)
    return model
