"""(IA)3: learned scales on what keys, values and the feed-forward part's inner layer give.

    y' = l * y            at an attention module, y its output with its bias
    y' = module(l * x)    at a feed-forward module

Source: Liu et al. 2022, "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than
In-Context Learning" (arXiv:2205.05638).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, field_validator

from adapterhub import (
    BaseShape,
    ConfigError,
    Method,
    MethodConfig,
    Param,
    Params,
    Scale,
    Site,
    TrainDefaults,
    check_pattern,
    match_pattern,
    select_modules,
)

if TYPE_CHECKING:
    from torch import Tensor

KEYS_AND_VALUES = r"k_proj|v_proj|qkv_proj|c_attn|query_key_value"
FEEDFORWARD = r"down_proj|mlp\.c_proj|fc2|dense_4h_to_h"
"""Last module of the feed-forward part: its input is the inner activation. By family: Llama and
its kin, GPT-2, OPT and Phi, GPT-NeoX and Falcon."""


class IA3Config(MethodConfig):
    """Options of (IA)3, under PEFT's names."""

    neutral: ClassVar[frozenset[str]] = frozenset(("fan_in_fan_out", "init_ia3_weights"))

    target_modules: str | tuple[str, ...] = Field(default=rf".*\.({KEYS_AND_VALUES}|{FEEDFORWARD})", min_length=1)
    """Linear modules: a list of names (k_proj, v_proj), all-linear, or a regular expression for whole names."""
    feedforward_modules: str | tuple[str, ...] = rf".*\.({FEEDFORWARD})"
    """Those of them that are scaled at their input: a list of name endings, or a regular expression."""

    @field_validator("target_modules", "feedforward_modules")
    @classmethod
    def _readable(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        return check_pattern(value) if isinstance(value, str) else value

    def scales_input(self, module: str) -> bool:
        """Whether PEFT takes a module for one of the feed-forward part."""
        if isinstance(self.feedforward_modules, str):
            found = match_pattern(self.feedforward_modules, module, field_name="feedforward_modules", whole=True)
            return found is not None
        return module.endswith(self.feedforward_modules)

    def to_peft(self) -> dict[str, Any]:
        """PEFT loads a list of feed-forward modules only where the targets list them too."""
        values, names = super().to_peft(), self.feedforward_modules
        listed = self.target_modules if isinstance(self.target_modules, tuple) else ()
        if isinstance(names, tuple) and not set(names) <= set(listed):
            values["feedforward_modules"] = f".*({'|'.join(map(re.escape, names))})"
        return values


class IA3(Method[IA3Config]):
    """Trained by PEFT's own layers; served here. The identity when it starts."""

    name = "ia3"
    peft_type = "IA3"
    Config = IA3Config
    in_peft = True
    training_defaults = TrainDefaults(
        learning_rate=0.008,
        source="PEFT's guide to IA3",
    )

    def sites(self, config: IA3Config, shape: BaseShape) -> list[Site]:
        targets = select_modules(config.target_modules, shape, field_name="target_modules")
        listed = config.feedforward_modules if isinstance(config.feedforward_modules, tuple) else ()
        if listed and not any(config.scales_input(name) for name in targets):
            leaves = ", ".join(sorted({name.rsplit(".", 1)[-1] for name in targets}))
            raise ConfigError(
                f"feedforward_modules: {', '.join(map(repr, listed))} matches no target module of "
                f"{shape.architecture}; there are: {leaves}",
                field="feedforward_modules",
            )
        return [_site(name, config, shape) for name in targets]

    def check_training(self, config: IA3Config, shape: BaseShape, quantization: str) -> None:
        """A name that matches nothing is usual in a saved list and a slip in a new one."""
        for name in config.target_modules if isinstance(config.target_modules, tuple) else ():
            select_modules((name,), shape, field_name="target_modules")

    def pre(self, config: IA3Config, p: Params, x: Tensor) -> Tensor:
        return x * p["input"].flatten() if "input" in p else x

    def post(self, config: IA3Config, p: Params, x: Tensor, y: Tensor) -> Tensor:
        return y * p["output"].flatten() if "output" in p else y

    def lower(self, config: IA3Config, site: Site, p: Params) -> Scale:
        return Scale(into=p["input"].flatten()) if "input" in p else Scale(behind=p["output"].flatten())

    def key(self, site: Site, param: str) -> str:
        return f"base_model.model.{site.module}.ia3_l"


def _site(name: str, config: IA3Config, shape: BaseShape) -> Site:
    module = shape.modules[name]
    if config.scales_input(name):
        return Site("module", {"input": Param((1, module.in_features), init="ones")}, module=name)
    return Site("module", {"output": Param((module.out_features, 1), init="ones")}, module=name)
