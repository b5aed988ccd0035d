"""Prefix tuning: n trained keys and values in front of every layer's cache.

Source: Li and Liang 2021, "Prefix-Tuning: Optimizing Continuous Prompts for Generation"
(arXiv:2101.00190).

A projection (a small network from which the keys and values come) exists in training only: PEFT
saves what it gives, which is trained on without one. With sliding windows the n positions slide out
of reach like any others.

What is not covered: bases whose layers differ in the size of their keys and values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from adapterhub import BaseShape, ConfigError, Method, MethodConfig, Param, Params, Site, TrainDefaults

if TYPE_CHECKING:
    from torch import Tensor


class PrefixTuningConfig(MethodConfig):
    """Options of prefix tuning, under PEFT's names."""

    # The layout is the base's: a file for another one has a tensor of another shape.
    neutral: ClassVar[frozenset[str]] = frozenset(
        (
            "encoder_hidden_size",
            "init_weights",
            "num_attention_heads",
            "num_layers",
            "num_transformer_submodules",
            "prefix_projection",
            "token_dim",
        )
    )

    num_virtual_tokens: int = Field(default=16, ge=1, le=4096)
    """Positions in front of the prompt that keys and values are trained for."""
    prefix_projection: bool = False
    """Train a small network that gives the keys and values, instead of them; only they are saved."""
    encoder_hidden_size: int | None = Field(default=None, ge=1)
    """Width of that network; by default the width of one layer's keys."""
    init_weights: Literal["zero"] | None = None
    """zero: the keys and values start at zero; by default at random."""

    @field_validator("encoder_hidden_size")
    @classmethod
    def _of_the_projection(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and not info.data.get("prefix_projection"):
            raise ValueError("without effect; needs prefix_projection=true")
        return value


class PrefixTuning(Method[PrefixTuningConfig]):
    """Trained by PEFT; served by writing the keys and values into a request's first places."""

    name = "prefix_tuning"
    peft_type = "PREFIX_TUNING"
    Config = PrefixTuningConfig
    in_peft = True
    training_defaults = TrainDefaults(
        learning_rate=0.005,
        epochs=10.0,
        source="PEFT's method comparison, where it learns with 1e-3 to 5e-3",
    )

    def sites(self, config: PrefixTuningConfig, shape: BaseShape) -> list[Site]:
        _check_uniform(shape)
        n, width = config.num_virtual_tokens, shape.num_kv_heads * shape.head_dim
        params = {"embeddings": Param((n, shape.num_layers * 2 * width), init="normal", std=1.0)}
        return [Site("kv", params, virtual_tokens=n)]

    def kv(self, config: PrefixTuningConfig, p: Params, shape: BaseShape) -> Tensor:
        """A row of `embeddings` holds one position: by layer, its keys and then its values, by head."""
        by_position = p["embeddings"].view(-1, shape.num_layers, 2, shape.num_kv_heads, shape.head_dim)
        return by_position.permute(1, 2, 3, 0, 4).contiguous()

    def key(self, site: Site, param: str) -> str:
        return f"prompt_{param}"


def _check_uniform(shape: BaseShape) -> None:
    width = shape.num_kv_heads * shape.head_dim
    for name in shape.linears:
        if name.endswith((".k_proj", ".v_proj")) and shape.modules[name].out_features != width:
            raise ConfigError(
                f"method prefix_tuning: {name} of {shape.architecture} gives {shape.modules[name].out_features} "
                f"features, not {width} as the model's config says; need all layers alike",
                field="method",
            )
