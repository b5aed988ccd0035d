"""Prompt tuning: n trained embeddings in front of the prompt.

Source: Lester et al. 2021, "The Power of Scale for Parameter-Efficient Prompt Tuning"
(arXiv:2104.08691).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from adapterhub import BaseShape, Method, MethodConfig, Param, Params, Site

if TYPE_CHECKING:
    from torch import Tensor


class PromptTuningConfig(MethodConfig):
    """Options of prompt tuning, under PEFT's names."""

    neutral: ClassVar[frozenset[str]] = frozenset(
        (
            "num_attention_heads",
            "num_layers",
            "num_transformer_submodules",
            "prompt_tuning_init",
            "prompt_tuning_init_text",
            "token_dim",
            "tokenizer_kwargs",
            "tokenizer_name_or_path",
        )
    )

    num_virtual_tokens: int = Field(default=16, ge=1, le=4096)
    """Virtual embeddings in front of the prompt."""
    prompt_tuning_init: Literal["RANDOM", "SAMPLE_VOCAB"] = "SAMPLE_VOCAB"
    """Where they start: at random, or at the embeddings of random tokens."""


class PromptTuning(Method[PromptTuningConfig]):
    """Trained by PEFT; served by prefilling the virtual embeddings like tokens."""

    name = "prompt_tuning"
    peft_type = "PROMPT_TUNING"
    Config = PromptTuningConfig
    in_peft = True

    def sites(self, config: PromptTuningConfig, shape: BaseShape) -> list[Site]:
        n = config.num_virtual_tokens
        params = {"embeddings": Param((n, shape.hidden_size), init="normal")}
        return [Site("prompt", params, virtual_tokens=n)]

    def prompt(self, config: PromptTuningConfig, p: Params) -> Tensor:
        return p["embeddings"]

    def key(self, site: Site, param: str) -> str:
        return f"prompt_{param}"
