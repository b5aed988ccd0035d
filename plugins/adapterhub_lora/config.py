"""The options of LoRA, and which of PEFT's a served adapter can carry."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, NonNegativeInt, field_validator, model_validator

from adapterhub import Names, RankConfig, UnsupportedAdapterError, by_pattern, check_pattern

REWRITING = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Starts that change the base's weights: a trained adapter is right on the changed base only."""
SILENT = ("gaussian", "orthogonal", "eva", "mica")
"""Starts that leave the base alone: what was trained is plain LoRA."""
STARTS = r"^(gaussian|orthogonal|olora|pissa|pissa_niter_\d+|corda|loftq)$"


class LoraConfig(RankConfig):
    """Options of LoRA, under PEFT's names."""

    neutral: ClassVar[frozenset[str]] = frozenset(
        (
            "corda_config",
            "eva_config",
            "fan_in_fan_out",
            "init_lora_weights",
            "loftq_config",
            "lora_ga_config",
            "megatron_core",
            "qalora_group_size",
        )
    )

    lora_alpha: int | float = Field(default=16, gt=0)
    """The update is scaled by alpha / r."""
    use_rslora: bool = False
    """Scale by alpha / sqrt(r) instead."""
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the input of A, in training only."""
    target_modules: Names = Field(default="all-linear", min_length=1)
    """A list of names (q_proj, embed_tokens), a regular expression for whole names, or all-linear: all but the head."""
    init_lora_weights: bool | str = True
    """How A and B start: true (nothing changes), gaussian, orthogonal, pissa, pissa_niter_[n], olora, corda (from what
    up to 256 training examples put into each module), loftq (from what nf4 lost of each weight), or false."""
    corda_config: dict[Literal["corda_method"], Literal["ipm", "kpm"]] | None = None
    """Of corda: {"corda_method": "ipm"} trains the directions that the examples use most (the default), "kpm" those
    that they use least, which keeps what the base knows of them."""
    use_dora: bool = False
    """Train the length of each output row of a weight apart from its direction."""
    bias: Literal["none", "all", "lora_only"] = "none"
    """Biases of the base that are trained: none, all, or those of the targeted modules."""
    lora_bias: bool = False
    """Add a bias to B."""
    alora_invocation_tokens: tuple[NonNegativeInt, ...] | None = None
    """Activated LoRA: act from the last place in the prompt where these token ids stand, on the bare base's keys."""
    modules_to_save: tuple[str, ...] | None = None
    """Modules trained and saved whole: linear ones, such as lm_head, and embeddings, such as embed_tokens."""

    @property
    def saves_difference(self) -> bool:
        """Whether the update starts as a part of the base's weights, or as what they lost."""
        return isinstance(self.init_lora_weights, str) and self.init_lora_weights.startswith(REWRITING)

    def scaling(self, module: str) -> float:
        rank = self.rank(module)
        return by_pattern(self.alpha_pattern, module, self.lora_alpha) / (math.sqrt(rank) if self.use_rslora else rank)

    @classmethod
    def from_peft(cls, values: Mapping[str, Any], *, where: str) -> Self:
        """Read the options of a saved adapter; what is absent is PEFT's default.

        Raises UnsupportedAdapterError naming the first option that has an effect we do not serve.
        """
        start = values.get("init_lora_weights")
        if isinstance(start, str) and start.lower().startswith(REWRITING):
            raise UnsupportedAdapterError(
                f"{where}: option init_lora_weights={start!r} changed the base it was trained on; need the adapter "
                "converted to the original base (PEFT: save_pretrained with path_initial_model_for_weight_conversion)"
            )
        if isinstance(start, str) and start.lower() not in SILENT:
            raise UnsupportedAdapterError(
                f"{where}: option init_lora_weights={start!r} may have changed the base it was trained on "
                f"(served: true, false, {', '.join(SILENT)})"
            )
        return super().from_peft({"lora_alpha": 8, **values}, where=where)

    def to_peft(self) -> dict[str, Any]:
        """The options as PEFT takes them: lists, not tuples; LoftQ's start is not PEFT's."""
        values = super().to_peft()
        if self.init_lora_weights == "corda":
            values["corda_config"] = {"corda_method": "ipm", **(self.corda_config or {})}
        if self.init_lora_weights == "loftq":
            values["init_lora_weights"] = True
        return values

    @field_validator("modules_to_save")
    @classmethod
    def _saved_readable(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """PEFT takes each name for a regular expression."""
        for name in value or ():
            check_pattern(name)
        return value

    @field_validator("init_lora_weights")
    @classmethod
    def _known_start(cls, value: bool | str) -> bool | str:
        if isinstance(value, str) and not re.match(STARTS, value):
            raise ValueError(
                "accepted: true, false, gaussian, orthogonal, pissa, pissa_niter_[number of iterations], olora, corda, "
                "loftq"
            )
        return value

    @model_validator(mode="after")
    def _together(self) -> Self:
        """What PEFT refuses together, and what cannot be converted to the original base."""
        if self.lora_bias and self.use_dora:
            raise ValueError("lora_bias=true does not go with use_dora=true")
        if self.lora_bias and isinstance(self.init_lora_weights, str):
            raise ValueError("lora_bias=true needs init_lora_weights true or false")
        if self.corda_config and self.init_lora_weights != "corda":
            raise ValueError("corda_config needs init_lora_weights=corda")
        if self.alora_invocation_tokens == ():
            raise ValueError("alora_invocation_tokens is empty; need the ids of at least one token")
        if self.alora_invocation_tokens:
            everywhere = {
                "bias": self.bias != "none",
                "init_lora_weights": self.saves_difference,
                "modules_to_save": bool(self.modules_to_save),
                "use_dora": self.use_dora,
            }
            for name in (name for name, given in everywhere.items() if given):
                raise ValueError(f"alora_invocation_tokens does not go with {name}, which would act on every token")
        if self.saves_difference:
            patterns = self.use_rslora and (self.rank_pattern or self.alpha_pattern)
            others = {
                "bias": self.bias != "none",
                "modules_to_save": self.modules_to_save,
                "use_dora": self.use_dora,
                "use_rslora with rank_pattern or alpha_pattern": patterns,
            }
            for name in (name for name, given in others.items() if given):
                raise ValueError(f"init_lora_weights={self.init_lora_weights!r} does not go with {name}")
        return self
