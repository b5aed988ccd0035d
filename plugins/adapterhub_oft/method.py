"""OFT: y' = W (R x), a block-diagonal rotation of what goes into each linear module.

    x' = x R       R = diag(R_1, .., R_b), each R_i [size, size]; x [in], in = b size
    R_i = (I - Q_i)(I + Q_i)^-1, or the first terms of its series; Q_i = -Q_i^T from the adapter

The base's weights are not needed. R takes about twice the bytes of the adapter's own numbers, the
halves above the diagonals of Q, and in * size multiplications a row.

Sources: Qiu et al. 2023, "Controlling Text-to-Image Diffusion by Orthogonal Finetuning"
(arXiv:2306.07280); the series: Qiu et al. 2025, "Orthogonal Finetuning Made Scalable" (arXiv:2506.19847).

What is not covered, and refused by name: targets that are no linear modules (GPT-2's transposed ones
are not, in PEFT; embeddings), trained biases, modules saved beside the rotations, and adapters of
older releases of PEFT, whose parametrizations were others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from adapterhub import (
    BaseShape,
    ConfigError,
    Method,
    Param,
    Params,
    Site,
    TargetConfig,
    TrainDefaults,
    UnsupportedAdapterError,
)
from adapterhub.method import BaseWeights, ModuleKind

if TYPE_CHECKING:
    from torch import Tensor

KINDS: tuple[ModuleKind, ...] = ("linear",)
SERIES_SINCE = (0, 18)
"""The release of PEFT that changed the last term of the series."""


class OFTConfig(TargetConfig):
    """Options of OFT, under PEFT's names."""

    neutral: ClassVar[frozenset[str]] = frozenset(("fan_in_fan_out", "init_weights", "module_dropout"))

    r: int = Field(default=0, ge=0)
    """Blocks of each module; needs oft_block_size=0."""
    oft_block_size: int = Field(default=32, ge=0)
    """Width of a block; a saved adapter has, where this does not divide a width, the nearest that does."""
    block_share: bool = False
    """One rotation for all blocks of a module."""
    use_cayley_neumann: bool = True
    """Rotate by the first terms of a series, which is nearly orthogonal; else by its limit, which needs an inverse."""
    num_cayley_neumann_terms: int = Field(default=5, ge=2)
    """How many terms."""
    coft: bool = False
    """Keep the rotations near the identity."""
    eps: float = Field(default=6e-5, gt=0)
    """How near: the bound on Q's norm at a module of one block."""
    module_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the blocks that are left as they are, in training only."""
    init_weights: bool = True
    """Start as the identity; else at random."""
    bias: Literal["none"] = "none"
    """Biases of the base that are trained: none."""

    def block_size(self, width: int) -> int:
        """Width of a block at a module that takes `width` features: as given, or the nearest that divides it."""
        given = self.oft_block_size or self.r
        part = min((part for part in range(1, width + 1) if width % part == 0), key=lambda part: abs(part - given))
        return part if self.oft_block_size else width // part

    @classmethod
    def from_peft(cls, values: Mapping[str, Any], *, where: str) -> Self:
        """Read the options of a saved adapter; what is absent is PEFT's default.

        Raises UnsupportedAdapterError naming the first option that has an effect we do not serve.
        """
        if "oft_block_size" not in values:
            raise UnsupportedAdapterError(f"{where}: option oft_block_size is missing: OFT of PEFT before 0.14")
        saved_by = values.get("peft_version")
        if values.get("use_cayley_neumann", True) and _release(saved_by) < SERIES_SINCE:
            raise UnsupportedAdapterError(
                f"{where}: option use_cayley_neumann=True of PEFT before 0.18 (peft_version: {saved_by}) was another "
                "series; need it trained again"
            )
        return super().from_peft(values, where=where)

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if bool(self.r) == bool(self.oft_block_size):
            raise ValueError("give one of r and oft_block_size, and 0 for the other")
        return self


class OFT(Method[OFTConfig]):
    """Trained by PEFT's own layers; served here."""

    name = "oft"
    peft_type = "OFT"
    Config = OFTConfig
    in_peft = True
    training_defaults = TrainDefaults(
        learning_rate=0.001,
        source="adapterhub's own",
    )

    def sites(self, config: OFTConfig, shape: BaseShape) -> list[Site]:
        sites = []
        for name in config.targets(shape, kinds=KINDS):
            width = shape.modules[name].in_features
            size = config.block_size(width)
            if size == 1:
                raise ConfigError(f"oft_block_size: blocks of 1 at {name} rotate nothing", field="oft_block_size")
            blocks = 1 if config.block_share else width // size
            sites.append(Site("module", {"weight": Param((blocks, size * (size - 1) // 2))}, module=name))
        return sites

    def check_training(self, config: OFTConfig, shape: BaseShape, quantization: str) -> None:
        """Every name matches something, and the blocks are those asked for."""
        config.check_names(shape, kinds=KINDS)
        option = "oft_block_size" if config.oft_block_size else "r"
        given = config.oft_block_size or config.r
        for site in self.sites(config, shape):
            if (width := shape.modules[site.module].in_features) % given:
                raise ConfigError(
                    f"{option}: {given} does not divide the {width} inputs of {site.module}", field=option
                )

    def bind(self, config: OFTConfig, site: Site, p: Params, base: BaseWeights) -> Params:
        from adapterhub_oft.rotation import cayley, neumann, shrunk, skew_symmetric

        q = skew_symmetric(p["weight"])
        if config.coft:
            q = shrunk(q, config.eps)
        return {"R": neumann(q, config.num_cayley_neumann_terms) if config.use_cayley_neumann else cayley(q)}

    def pre(self, config: OFTConfig, p: Params, x: Tensor) -> Tensor:
        blocks, size, _ = p["R"].shape
        split = x.reshape(len(x), -1, size)
        if blocks == 1:  # shared by all, or the only one
            return (split @ p["R"][0]).reshape(x.shape)
        return (split.transpose(0, 1) @ p["R"]).transpose(0, 1).reshape(x.shape)

    def key(self, site: Site, param: str) -> str:
        return f"base_model.model.{site.module}.oft_R.{param}"


def _release(version: object) -> tuple[int, int]:
    """Major and minor number; 0.0 for what is none, as files of old releases have none."""
    found = re.match(r"(\d+)\.(\d+)", str(version))
    return (int(found[1]), int(found[2])) if found else (0, 0)
