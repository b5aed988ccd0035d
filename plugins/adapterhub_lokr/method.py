"""LoKr: y + s (W1 kron W2) x, a Kronecker product beside each linear module.

A module's width is split in two: in = m n, out = p q. With a row x seen as X [m, n],

    y' = y + s flatten(W1 X W2^T)        W1 [p, m]   W2 [q, n]   W1 X W2^T [p, q]   s = alpha / r

which never builds the product and holds the adapter's own numbers only. W1 and W2 may each be given
by two factors, W = A B over rank r, which are applied one after the other.

Sources: Yeh et al. 2023, "Navigating Text-To-Image Customization: From LyCORIS Fine-Tuning to Model
Evaluation" (arXiv:2309.14859).

What is not covered, and refused by name: targets that are no linear modules (GPT-2's transposed ones
are not, in PEFT), and modules saved beside the update.
"""

from __future__ import annotations

from math import isqrt
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from adapterhub import (
    BaseShape,
    ConfigError,
    Method,
    ModuleShape,
    Param,
    Params,
    RankConfig,
    Site,
    TrainDefaults,
    by_pattern,
)
from adapterhub.method import BaseWeights, ModuleKind

if TYPE_CHECKING:
    from torch import Tensor

KINDS: tuple[ModuleKind, ...] = ("linear",)


class LoKrConfig(RankConfig):
    """Options of LoKr, under PEFT's names."""

    neutral: ClassVar[frozenset[str]] = frozenset(
        ("init_weights", "module_dropout", "rank_dropout", "rank_dropout_scale", "use_effective_conv2d")
    )

    alpha: int | float = Field(default=8, gt=0)
    """The update is scaled by alpha / r."""
    decompose_both: bool = False
    """Give W1 by two factors too, where they are smaller."""
    decompose_factor: int = Field(default=-1, ge=-1)
    """First part of a width where it divides it, else the largest at most; -1: as near the square root as can be."""
    rank_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of an update's output rows that are left out, in training only."""
    rank_dropout_scale: bool = False
    """Scale those that are left to the same mean."""
    module_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the modules whose update is left out, in training only."""
    init_weights: bool | Literal["lycoris"] = True
    """Start as the identity, by a W1 of zeros or (lycoris) a W2 of zeros; false: at random."""

    def scaling(self, module: str) -> float:
        return by_pattern(self.alpha_pattern, module, self.alpha) / self.rank(module)


class LoKr(Method[LoKrConfig]):
    """Trained by PEFT's own layers; served here."""

    name = "lokr"
    peft_type = "LOKR"
    Config = LoKrConfig
    in_peft = True
    trained_on = frozenset(("none",))
    training_defaults = TrainDefaults(
        learning_rate=0.003,
        source="PEFT's method comparison, with factor 4",
    )

    def sites(self, config: LoKrConfig, shape: BaseShape) -> list[Site]:
        return [
            Site("module", _factors(shape.modules[name], config.rank(name), config), module=name)
            for name in config.targets(shape, kinds=KINDS)
        ]

    def check_training(self, config: LoKrConfig, shape: BaseShape, quantization: str) -> None:
        """Every name matches something, and PEFT's layers fit the base."""
        config.check_names(shape, kinds=KINDS)
        if quantization != "none":
            raise ConfigError(
                f"quantization: PEFT trains lokr beside floating weights, not {quantization} ones (accepted: none)",
                field="quantization",
            )

    def bind(self, config: LoKrConfig, site: Site, p: Params, base: BaseWeights) -> Params:
        outer = "w1" if "w1" in p else "w1_a"
        return {**p, outer: p[outer] * config.scaling(site.module)}

    def post(self, config: LoKrConfig, p: Params, x: Tensor, y: Tensor) -> Tensor:
        first = p["w1_b"] if "w1_b" in p else p["w1"]
        z = x.reshape(len(x), first.shape[1], -1)  # [rows, m, n]
        z = z @ (p["w2_b"].T if "w2_b" in p else p["w2"].T)
        z = z.mT @ first.T  # the factor on the left, as one matmul for all rows: [rows, r or q, p or r]
        z = (z @ p["w1_a"].T if "w1_a" in p else z).mT
        z = z @ p["w2_a"].T if "w2_a" in p else z  # [rows, p, q]
        return y + z.reshape(y.shape)

    def key(self, site: Site, param: str) -> str:
        return f"base_model.model.{site.module}.lokr_{param}"


def _factors(module: ModuleShape, rank: int, config: LoKrConfig) -> dict[str, Param]:
    """W1 and W2, whole or as two factors where the rank is less than half of their longer side."""
    (p, q), (m, n) = (split(width, config.decompose_factor) for width in (module.out_features, module.in_features))
    params = {}
    for name, rows, columns, divisible in (("w1", p, m, config.decompose_both), ("w2", q, n, True)):
        if divisible and 2 * rank < max(rows, columns):
            params[f"{name}_a"] = Param((rows, rank), init="kaiming_uniform" if name == "w2" else "zeros")
            params[f"{name}_b"] = Param((rank, columns), init="kaiming_uniform")
        else:
            params[name] = Param((rows, columns), init="kaiming_uniform" if name == "w2" else "zeros")
    return params


def split(width: int, factor: int) -> tuple[int, int]:
    """A width as a product of two, as PEFT splits it (`factorization` in its tuners/lokr/layer.py).

    `factor` and the rest where it divides the width; else the largest divisor up to it, and up to the
    square root, comes first.
    """
    if factor > 0 and width % factor == 0:
        return factor, width // factor
    highest = isqrt(width) if factor == -1 else min(factor, isqrt(width))
    first = max((part for part in range(1, highest + 1) if width % part == 0), default=1)
    return first, width // first
