"""LoHa: y + s ((A1 B1) * (A2 B2)) x, the elementwise product of two low-rank updates beside each linear module.

The product has rank r^2 and is never built. With u[i, j] = sum_k B1[i, k] B2[j, k] x[k],

    y'[o] = y[o] + s sum_i A1[o, i] sum_j A2[o, j] u[i, j]

    A1, A2 [out, r]   B1, B2 [r, in]   u [r, r]   s = alpha / r

takes 2 r^2 (in + out) multiplications a row and holds the adapter's own 2 r (in + out) numbers. The
full update would hold in * out of them at every module: as much as the base, for each adapter. It
would take in * out multiplications a row, fewer from r = sqrt(in * out / 2 (in + out)) on: 15 at 576 x 1536.

Sources: Hyeon-Woo et al. 2021, "FedPara: Low-Rank Hadamard Product for Communication-Efficient
Federated Learning" (arXiv:2108.06098); Yeh et al. 2023, "LyCORIS" (arXiv:2309.14859).

What is not covered, and refused by name: targets that are no linear modules (GPT-2's transposed ones
are not, in PEFT), and modules saved beside the update.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from adapterhub import BaseShape, ConfigError, Method, Param, Params, RankConfig, Site, TrainDefaults, by_pattern
from adapterhub.method import BaseWeights, ModuleKind

if TYPE_CHECKING:
    from torch import Tensor

KINDS: tuple[ModuleKind, ...] = ("linear",)
AT_ONCE = 2**18
"""Numbers that an intermediate result may have, to stay in a core's cache: rows beyond are computed in turns."""


class LoHaConfig(RankConfig):
    """Options of LoHa, under PEFT's names."""

    neutral: ClassVar[frozenset[str]] = frozenset(
        ("init_weights", "module_dropout", "rank_dropout", "use_effective_conv2d")
    )

    alpha: int | float = Field(default=8, gt=0)
    """The update is scaled by alpha / r."""
    rank_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of an update's output rows that are left out, in training only."""
    module_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the modules whose update is left out, in training only."""
    init_weights: bool = True
    """Start as the identity; else at random."""

    def scaling(self, module: str) -> float:
        return by_pattern(self.alpha_pattern, module, self.alpha) / self.rank(module)


class LoHa(Method[LoHaConfig]):
    """Trained by PEFT's own layers; served here."""

    name = "loha"
    peft_type = "LOHA"
    Config = LoHaConfig
    in_peft = True
    trained_on = frozenset(("none",))
    training_defaults = TrainDefaults(
        learning_rate=0.001,
        source="adapterhub's own",
    )

    def sites(self, config: LoHaConfig, shape: BaseShape) -> list[Site]:
        sites = []
        for name in config.targets(shape, kinds=KINDS):
            module, rank = shape.modules[name], config.rank(name)
            params = {
                "w1_a": Param((module.out_features, rank), init="kaiming_uniform"),
                "w1_b": Param((rank, module.in_features), init="kaiming_uniform"),
                "w2_a": Param((module.out_features, rank), init="kaiming_uniform"),
                "w2_b": Param((rank, module.in_features)),
            }
            sites.append(Site("module", params, module=name))
        return sites

    def check_training(self, config: LoHaConfig, shape: BaseShape, quantization: str) -> None:
        """Every name matches something, and PEFT's layers fit the base."""
        config.check_names(shape, kinds=KINDS)
        if quantization != "none":
            raise ConfigError(
                f"quantization: PEFT trains loha beside floating weights, not {quantization} ones (accepted: none)",
                field="quantization",
            )

    def bind(self, config: LoHaConfig, site: Site, p: Params, base: BaseWeights) -> Params:
        return {**p, "w1_a": p["w1_a"] * config.scaling(site.module)}

    def post(self, config: LoHaConfig, p: Params, x: Tensor, y: Tensor) -> Tensor:
        import torch

        at_once = max(1, AT_ONCE // max(p["w1_a"].numel(), p["w1_b"].numel()))
        return y + torch.cat([_update(p, rows) for rows in torch.split(x, at_once)])

    def key(self, site: Site, param: str) -> str:
        return f"base_model.model.{site.module}.hada_{param}"


def _update(p: Params, x: Tensor) -> Tensor:
    u = (x.unsqueeze(1) * p["w1_b"]) @ p["w2_b"].T
    return ((u @ p["w2_a"].T) * p["w1_a"].T).sum(1)
