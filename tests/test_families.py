"""The engine on other decoder families: greedy tokens and logits equal transformers' own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GptOssConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from adapterhub.base import BaseModel
from adapterhub.testing import save_tokenizer
from adapterhub.testing.equality import greedy, recording_engine, run, teacher_forced

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
FAMILIES: dict[str, PreTrainedConfig] = {
    "llama-yarn": LlamaConfig(
        **SIZES,
        rope_parameters={
            "rope_type": "yarn",
            "rope_theta": 1e4,
            "factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    ),
    "qwen2": Qwen2Config(**SIZES),
    "qwen3": Qwen3Config(**SIZES),
    "mistral-sliding-window": MistralConfig(**SIZES, sliding_window=7),
    "gemma2-softcap": Gemma2Config(**SIZES, sliding_window=7, attn_logit_softcapping=5.0, query_pre_attn_scalar=16),
    "gemma3-scaled-embeddings": Gemma3TextConfig(**SIZES, sliding_window=7, query_pre_attn_scalar=16),
    "gpt-oss-sinks": GptOssConfig(**SIZES, sliding_window=7, num_local_experts=4, num_experts_per_tok=2),
    "gpt2": GPT2Config(
        vocab_size=258, n_embd=32, n_layer=3, n_head=4, n_positions=256, bos_token_id=0, eos_token_id=1, pad_token_id=1,
        initializer_range=0.2,
    ),
}  # fmt: skip


RUN_BY_KERNELS = ("llama-yarn", "qwen2", "qwen3", "mistral-sliding-window")
"""Families whose layers run from kernel to kernel, not as transformers' modules."""


@pytest.mark.parametrize("kernels", ["native", "torch"])
@pytest.mark.parametrize("family", FAMILIES)
def test_engine_equals_transformers_on(
    family: str, kernels: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADAPTERHUB_KERNELS", kernels)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(FAMILIES[family]).save_pretrained(tmp_path)  # type: ignore[no-untyped-call]
    save_tokenizer(tmp_path)
    base = BaseModel.load(str(tmp_path), quantization="none")
    reference = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager")
    reference.train(False)
    requests = [greedy(range(7 + index, 12 + 6 * index), "", 12) for index in range(5)]
    with recording_engine(base, {}, step_tokens=33) as (engine, recorder):
        assert bool(engine._runner._decoder) == (base.kernels is not None and family in RUN_BY_KERNELS)
        rows = run(engine, recorder, requests)
        assert engine.stats().steps > 12
    for request, row in zip(requests, rows, strict=True):
        expected = teacher_forced(reference, request, row)
        torch.testing.assert_close(row.logits, expected, atol=1e-4, rtol=0)
        assert expected.argmax(dim=-1).tolist() == list(row.tokens)
