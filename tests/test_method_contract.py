"""Every built-in method holds the contract, and a method that breaks it is caught."""

from __future__ import annotations

from adapterhub_bottleneck import Bottleneck
from adapterhub_lora import Lora
from adapterhub_prompt_tuning import PromptTuning

from adapterhub.testing import MethodContract


class TestLora(MethodContract):
    method = Lora()
    options = (
        {"r": 4},
        {"r": 3, "lora_alpha": 7, "use_rslora": True, "target_modules": ["q_proj", "down_proj", "lm_head"]},
    )


class TestBottleneck(MethodContract):
    method = Bottleneck()
    options = (
        {"placement": "houlsby", "reduction_factor": 4, "non_linearity": "swish"},
        {"placement": "pfeiffer", "reduction_factor": 4},
    )


class TestPromptTuning(MethodContract):
    method = PromptTuning()
    options = ({"num_virtual_tokens": 5},)
