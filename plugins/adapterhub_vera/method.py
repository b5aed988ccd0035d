"""VeRA: y + b * B(d * (A x)), A and B random, frozen and the same at all modules; b and d learn.

    A [r, in]   B [out, r]   d [r]   b [out]

A and B are kept once, for the widest input and output among the targets; each module reads the part
of its own widths.

Source: Kopiczko et al. 2024, "VeRA: Vector-based Random Matrix Adaptation" (arXiv:2310.11454).

What is not covered, and refused by name: trained biases and modules saved whole.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from adapterhub import BaseShape, Method, Param, Params, Site, TrainDefaults
from adapterhub.method import BaseWeights
from adapterhub_vera.config import VeraConfig

if TYPE_CHECKING:
    from torch import Tensor


class Vera(Method[VeraConfig]):
    """Trained by PEFT's own layers; served here. The identity when it starts."""

    name = "vera"
    peft_type = "VERA"
    Config = VeraConfig
    in_peft = True
    training_defaults = TrainDefaults(
        learning_rate=0.001,
        source="PEFT's method comparison",
    )

    def sites(self, config: VeraConfig, shape: BaseShape) -> list[Site]:
        modules = {name: shape.modules[name] for name in config.targets(shape)}
        sizes = {
            "A": (config.r, max(module.in_features for module in modules.values())),
            "B": (max(module.out_features for module in modules.values()), config.r),
        }
        kept = {name: Param(size, trainable=False, optional=not config.save_projection) for name, size in sizes.items()}
        own = {
            name: {"lambda_b": Param((module.out_features,)), "lambda_d": Param((config.r,), init="normal")}
            for name, module in modules.items()
        }
        return [Site("shared", kept), *(Site("module", params, module=name) for name, params in own.items())]

    def check_training(self, config: VeraConfig, shape: BaseShape, quantization: str) -> None:
        config.check_names(shape)

    def bind(self, config: VeraConfig, site: Site, p: Params, base: BaseWeights) -> Params:
        """The projections, made from their seed where the file has none."""
        return _projections(config.projection_prng_key, site) if site.kind == "shared" and not p else p

    def post(self, config: VeraConfig, p: Params, x: Tensor, y: Tensor) -> Tensor:
        a, b = p["A"][:, : x.shape[1]], p["B"][: y.shape[1]]
        return y + p["lambda_b"] * ((p["lambda_d"] * (x @ a.T)) @ b.T)

    def key(self, site: Site, param: str) -> str:
        where = f"model.{site.module}." if site.module else ""
        return f"base_model.{where}vera_{param}"


def _projections(seed: int, site: Site) -> Params:
    """A and B as PEFT makes them: one after the other from one generator, Kaiming uniform with gain sqrt(2)."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    made = {}
    for name in ("A", "B"):
        size = site.params[name].shape
        bound = math.sqrt(6 / size[1])
        made[name] = torch.empty(size).uniform_(-bound, bound, generator=generator)
    return made
