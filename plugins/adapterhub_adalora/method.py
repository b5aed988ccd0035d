"""AdaLoRA: LoRA in the form of a singular value decomposition, which gives ranks to the modules that use them.

    y' = y + s B (E * A x),  s = alpha / (init_r + 1e-5)

A: [r, in], E: [r, 1], B: [out, r]. While it trains, each rank of each module is scored by how much
the loss depends on it; those with the lowest scores have their E set to zero, more of them from step
to step. The file holds the ranks that are left, which may be none of a module.

Source: Zhang et al. 2023, "AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning"
(arXiv:2303.10512), as PEFT computes it.

What is not covered, and refused by name: embeddings, trained biases, modules saved whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from adapterhub import BaseShape, ConfigError, LowRank, Method, Param, Params, Site, TrainDefaults
from adapterhub.method import BaseWeights
from adapterhub.method_training import Continued
from adapterhub_adalora.config import AdaLoraConfig

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import Tensor


MAX_RANKS = 50_000
"""Of all modules when training starts: a saved config lists each, and a longer one than this is not read."""


class AdaLora(Method[AdaLoraConfig]):
    """Trained by PEFT's own layers and rank allocator; served here. The identity when it starts."""

    name = "adalora"
    peft_type = "ADALORA"
    Config = AdaLoraConfig
    in_peft = True
    training_defaults = TrainDefaults(
        learning_rate=0.001,
        source="Zhang et al. 2023, who use 5e-4 to 2e-3",
    )

    def sites(self, config: AdaLoraConfig, shape: BaseShape) -> list[Site]:
        targets = config.targets(shape)
        _check_pattern(config, targets)
        return [_site(name, config, shape) for name in targets]

    def check_training(self, config: AdaLoraConfig, shape: BaseShape, quantization: str) -> None:
        """Ranks are there to fall, and are chosen by training; every listed name matches something."""
        if config.target_r >= config.init_r:
            raise ConfigError(
                f"target_r: {config.target_r}; accepted: 1 or more, and less than init_r ({config.init_r})",
                field="target_r",
            )
        modules = len(self.sites(config, shape))
        if config.init_r * modules > MAX_RANKS:
            raise ConfigError(
                f"init_r: {config.init_r} of each of {modules} modules; accepted: at most {MAX_RANKS} in all, here "
                f"{MAX_RANKS // modules}",
                field="init_r",
            )
        if config.rank_pattern is not None:
            raise ConfigError("rank_pattern: chosen by training; leave it out", field="rank_pattern")
        config.check_names(shape)

    def continued(self, config: AdaLoraConfig, saved: Mapping[str, Any], shape: BaseShape) -> Continued:
        """With the ranks that are left: none is taken away any more, as those that were are in no file."""
        ranks = {f"{name}.lora_E": (True,) * config.init_r for name in config.targets(shape)}
        kept = {"target_r", "orth_reg_weight"} & saved.keys()
        own = {"rank_pattern": ranks | (config.rank_pattern or {}), **{name: saved[name] for name in kept}}
        return Continued(self.name, {**dict(config), **own})

    def scheduled(self, config: AdaLoraConfig, steps: int) -> AdaLoraConfig:
        return config.for_steps(steps) if config.rank_pattern is None else config

    def extra_loss(self, config: AdaLoraConfig, model: PeftModel) -> Tensor | None:
        """w * mean over all A and B of |A A^T - I|, |B^T B - I|, which PEFT adds to a loss of the model's own only."""
        from adapterhub_adalora.orthogonality import orthogonality

        return config.orth_reg_weight * orthogonality(model) if config.orth_reg_weight else None

    def stepped(self, config: AdaLoraConfig, model: PeftModel, step: int) -> None:
        """Score the ranks by this step's gradients, and take away those with the lowest scores."""
        if config.rank_pattern is None:  # else they were chosen before
            tuner: Any = model.base_model
            tuner.update_and_allocate(step)

    def training_state(self, config: AdaLoraConfig, model: PeftModel) -> Mapping[str, Tensor]:
        """How important each value was in the steps so far, and which ranks are left."""
        from adapterhub_adalora.allocation import allocation

        return allocation(model)

    def restore_training_state(self, config: AdaLoraConfig, model: PeftModel, state: Mapping[str, Tensor]) -> None:
        from adapterhub_adalora.allocation import restore_allocation

        restore_allocation(model, state)

    def complete_from(self, config: AdaLoraConfig) -> int:
        """Once the ranks have fallen to `target_r`."""
        return (config.total_step or 0) - (config.tfinal or 0)

    def bind(self, config: AdaLoraConfig, site: Site, p: Params, base: BaseWeights) -> Params:
        return {"A": p["lora_A"] * p["lora_E"], "B": p["lora_B"] * config.scaling}

    def post(self, config: AdaLoraConfig, p: Params, x: Tensor, y: Tensor) -> Tensor:
        return y + (x @ p["A"].T) @ p["B"].T

    def lower(self, config: AdaLoraConfig, site: Site, p: Params) -> LowRank:
        return LowRank(p["A"], p["B"])

    def key(self, site: Site, param: str) -> str:
        return f"base_model.model.{site.module}.{param}"


def _site(name: str, config: AdaLoraConfig, shape: BaseShape) -> Site:
    module, rank = shape.modules[name], config.rank(name)
    params = {
        "lora_A": Param((rank, module.in_features), init="normal"),
        "lora_B": Param((module.out_features, rank), init="normal"),
        "lora_E": Param((rank, 1)),
    }
    return Site("module", params, module=name)


def _check_pattern(config: AdaLoraConfig, targets: list[str]) -> None:
    """Raises ConfigError for a pattern of a module that is no target, or of another rank than `init_r`."""
    known = {f"{name}.lora_E" for name in targets}
    for key, kept in (config.rank_pattern or {}).items():
        problem = ""
        if key not in known:
            problem = f"{key!r} is of no target module; need names such as {min(known)}"
        elif len(kept) != config.init_r:
            problem = f"{key!r} lists {len(kept)} ranks; need init_r of them, {config.init_r}"
        if problem:
            raise ConfigError(f"rank_pattern: {problem}", field="rank_pattern")
