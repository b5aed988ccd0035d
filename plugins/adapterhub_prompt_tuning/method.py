"""Prompt tuning: n trained embeddings in front of the prompt.

Source: Lester et al. 2021, "The Power of Scale for Parameter-Efficient Prompt Tuning"
(arXiv:2104.08691).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from adapterhub import BaseShape, Method, MethodConfig, Param, Params, Site, TrainDefaults

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
    prompt_tuning_init: Literal["RANDOM", "SAMPLE_VOCAB", "TEXT"] = "SAMPLE_VOCAB"
    """Where they start: at random, or at the embeddings of random tokens or of a text."""
    prompt_tuning_init_text: str | None = None
    """That text; the base's tokenizer splits it, and it is cut or repeated to fill the positions."""

    @field_validator("prompt_tuning_init_text")
    @classmethod
    def _with_text_only(cls, value: str | None, info: ValidationInfo) -> str | None:
        wanted = info.data.get("prompt_tuning_init") == "TEXT"
        if wanted and not (value and value.strip()):
            raise ValueError("prompt_tuning_init=TEXT needs a text that is not empty")
        if value is not None and not wanted:
            raise ValueError("without effect; needs prompt_tuning_init=TEXT")
        return value

    def to_peft(self) -> dict[str, Any]:
        """PEFT wants to know of a text's tokenizer; training puts the base's own in its place."""
        values = super().to_peft()
        return values | {"tokenizer_name_or_path": "base"} if self.prompt_tuning_init == "TEXT" else values


class PromptTuning(Method[PromptTuningConfig]):
    """Trained by PEFT; served by prefilling the virtual embeddings like tokens."""

    name = "prompt_tuning"
    peft_type = "PROMPT_TUNING"
    Config = PromptTuningConfig
    in_peft = True
    training_defaults = TrainDefaults(
        learning_rate=0.03,
        epochs=10.0,
        source="PEFT's guide to prompt-based methods, which makes 50 epochs of 50 examples",
    )

    def sites(self, config: PromptTuningConfig, shape: BaseShape) -> list[Site]:
        n = config.num_virtual_tokens
        params = {"embeddings": Param((n, shape.hidden_size), init="normal")}
        return [Site("prompt", params, virtual_tokens=n)]

    def prompt(self, config: PromptTuningConfig, p: Params) -> Tensor:
        return p["embeddings"]

    def key(self, site: Site, param: str) -> str:
        return f"prompt_{param}"
