"""Methods with options, and tiny bases of several families, that the tests of `plan` share."""

from __future__ import annotations

from typing import Any

from lora_cases import FAMILIES

CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("llama", "lora", {}),
    ("llama", "lora", {"r": 3, "use_rslora": True, "target_modules": ["q_proj", "down_proj", "lm_head"]}),
    ("llama", "lora", {"use_dora": True, "rank_pattern": {"q_proj": 2}}),
    ("llama", "lora", {"lora_bias": True, "layers_to_transform": [1], "target_modules": ["v_proj"]}),
    ("llama", "lora", {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}),
    ("tied", "lora", {"target_modules": ["embed_tokens", "q_proj"]}),
    ("gemma2", "lora", {"target_modules": ["embed_tokens", "o_proj"]}),
    ("gpt2", "lora", {"target_modules": ["c_attn"], "bias": "all"}),
    ("gpt2", "lora", {"target_modules": ["c_attn", "wpe"], "bias": "lora_only"}),
    ("gpt2", "lora", {"use_dora": True}),
    ("llama", "ia3", {}),
    ("llama", "bottleneck", {"placement": "houlsby", "reduction_factor": 4}),
    ("llama", "bottleneck", {"placement": "parallel", "reduction_factor": 2}),
    ("gemma2", "bottleneck", {"leave_out": [0]}),
    ("llama", "prompt_tuning", {"num_virtual_tokens": 5}),
    ("tied", "p_tuning", {"num_virtual_tokens": 7, "encoder_hidden_size": 24}),
    ("llama", "prefix_tuning", {"num_virtual_tokens": 9}),
    ("gpt2", "prefix_tuning", {"prefix_projection": True, "encoder_hidden_size": 24}),
]  # fmt: skip
"""Family, method and options: every built-in method, and what changes sizes."""

assert {family for family, _, _ in CASES} == set(FAMILIES)
