"""LN tuning: the norms' own weights and biases, trained; y' = norm(x) with those of the adapter.

Source: Zhao et al. 2023, "Tuning LayerNorm in Attention: Towards Efficient Multi-Modal LLM
Finetuning" (arXiv:2312.11420).

What is not covered, and refused by name: targets that are no norms, norms of single attention heads
(whose rows families lay out in different ways), and modules saved beside the norms.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, field_validator

from adapterhub import (
    BaseShape,
    ConfigError,
    Method,
    MethodConfig,
    Names,
    Param,
    Params,
    Site,
    TrainDefaults,
    check_pattern,
    select_modules,
)
from adapterhub.method import BaseWeights, ModuleKind

if TYPE_CHECKING:
    from torch import Tensor

PARTS = "input|post_attention|pre_feedforward|post_feedforward|final"
RESIDUAL = rf".*\.(norm|ln_[12f]|({PARTS})_layernorm|(self_attn|final)_layer_norm)"
"""Norms of the residual, and the last one. By family: Llama and its kin, GPT-2, Gemma, Phi, OPT."""
KINDS: tuple[ModuleKind, ...] = ("norm",)


class LNTuningConfig(MethodConfig):
    """Options of LN tuning, under PEFT's names."""

    target_modules: Names = Field(default=RESIDUAL, min_length=1)
    """Norms: a list of names (input_layernorm, norm), or a regular expression for whole names; by default all."""
    exclude_modules: Names | None = None
    """Norms left out of those: a list of names, or a regular expression."""

    @field_validator("target_modules", "exclude_modules")
    @classmethod
    def _readable(cls, value: Names | None) -> Names | None:
        return check_pattern(value) if isinstance(value, str) else value

    @classmethod
    def from_peft(cls, values: Mapping[str, Any], *, where: str) -> Self:
        """Read the options of a saved adapter; absent targets are PEFT's choice by family, and refused."""
        return super().from_peft({"target_modules": None, **values}, where=where)

    def to_peft(self) -> dict[str, Any]:
        """The options as PEFT takes them: lists, not tuples."""
        return self.model_dump(mode="json")


class LNTuning(Method[LNTuningConfig]):
    """Trained by PEFT's own layers; served here. The identity when it starts: a copy of the norms."""

    name = "ln_tuning"
    peft_type = "LN_TUNING"
    Config = LNTuningConfig
    in_peft = True
    training_defaults = TrainDefaults(
        learning_rate=0.001,
        source="adapterhub's own",
    )

    def sites(self, config: LNTuningConfig, shape: BaseShape) -> list[Site]:
        names = select_modules(
            config.target_modules,
            shape,
            field_name="target_modules",
            kinds=KINDS,
            exclude=config.exclude_modules or (),
        )
        return [_site(name, shape) for name in names]

    def check_training(self, config: LNTuningConfig, shape: BaseShape, quantization: str) -> None:
        """A name that matches nothing is usual in a saved list and a slip in a new one."""
        for name in config.target_modules if isinstance(config.target_modules, tuple) else ():
            select_modules((name,), shape, field_name="target_modules", kinds=KINDS)

    def bind(self, config: LNTuningConfig, site: Site, p: Params, base: BaseWeights) -> Params:
        from adapterhub_ln_tuning.norm_form import norm_form

        form = norm_form(site.module, p, base)
        number = p["weight"].new_tensor
        bound = {
            "gain": p["weight"] + form.offset,
            "eps": number(form.eps),
            "centered": number(float(form.centered)),
        }
        return bound | ({"shift": p["bias"]} if "bias" in p else {})

    def replace(self, config: LNTuningConfig, p: Params, x: Tensor) -> Tensor:
        x = x - p["centered"] * x.mean(-1, keepdim=True)
        y = x * (x.square().mean(-1, keepdim=True) + p["eps"]).rsqrt() * p["gain"]
        return y + p["shift"] if "shift" in p else y

    def key(self, site: Site, param: str) -> str:
        return f"base_model.model.{site.module}.ln_tuning_layers.{param}"


def _site(name: str, shape: BaseShape) -> Site:
    module = shape.modules[name]
    if module.in_features == shape.head_dim != shape.hidden_size:
        raise ConfigError(
            f"target_modules: {name} of {shape.architecture} is a norm of single attention heads, which is not served",
            field="target_modules",
        )
    params = {"weight": Param((module.in_features,), init="ones")}
    if module.bias:
        params["bias"] = Param((module.in_features,))
    return Site("module", params, module=name, replaces=True)
