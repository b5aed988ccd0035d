"""LoRA: y + s * B(A x), a low-rank update beside each targeted linear module.

Source: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models" (arXiv:2106.09685);
rank-stabilized scaling: Kalajdzievski 2023 (arXiv:2312.03732).

What is not covered yet, and refused by name: DoRA, rank and alpha patterns, layer selections,
biases, embeddings, modules_to_save, and initializations that rewrite the base's weights.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from adapterhub import BaseShape, Method, MethodConfig, Param, Params, Site, select_modules

if TYPE_CHECKING:
    from torch import Tensor


class LoraConfig(MethodConfig):
    """Options of LoRA, under PEFT's names."""

    neutral: ClassVar[frozenset[str]] = frozenset(("fan_in_fan_out", "megatron_core", "qalora_group_size"))

    r: int = Field(default=8, ge=1, le=1024)
    """Rank of the update."""
    lora_alpha: float = Field(default=16, gt=0)
    """The update is scaled by alpha / r."""
    use_rslora: bool = False
    """Scale by alpha / sqrt(r) instead."""
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the input of A, in training only."""
    target_modules: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """Names of linear modules (q_proj, v_proj), or all-linear: every one but the output head."""
    init_lora_weights: bool | Literal["gaussian", "orthogonal"] = True
    """How A starts; B starts at zero, except for orthogonal and false."""
    bias: Literal["none"] = "none"
    """Biases of the base stay frozen."""

    @property
    def scaling(self) -> float:
        return self.lora_alpha / (math.sqrt(self.r) if self.use_rslora else self.r)


class Lora(Method[LoraConfig]):
    """Trained by PEFT's own LoRA layers; served here."""

    name = "lora"
    peft_type = "LORA"
    Config = LoraConfig
    in_peft = True

    def sites(self, config: LoraConfig, shape: BaseShape) -> list[Site]:
        found = []
        for module in select_modules(config.target_modules, shape, field_name="target_modules"):
            linear = shape.modules[module]
            params = {
                "lora_A": Param((config.r, linear.in_features), init="kaiming_uniform"),
                "lora_B": Param((linear.out_features, config.r)),
            }
            found.append(Site("module", params, module=module))
        return found

    def post(self, config: LoraConfig, p: Params, x: Tensor, y: Tensor) -> Tensor:
        return y + (x @ p["lora_A"].T) @ p["lora_B"].T * config.scaling

    def key(self, site: Site, param: str) -> str:
        return f"base_model.model.{site.module}.{param}.weight"
