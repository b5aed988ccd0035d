"""The options of AdaLoRA, and the schedule by which it lowers its ranks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, NonNegativeInt, StrictBool

from adapterhub import ConfigError, TargetConfig

MAX_RANK = 4096
SMALLEST = 1e-5
"""What PEFT adds to the rank it divides by."""


class AdaLoraConfig(TargetConfig):
    """Options of AdaLoRA, under PEFT's names."""

    neutral: ClassVar[frozenset[str]] = frozenset(
        (
            "beta1",
            "beta2",
            "deltaT",
            "fan_in_fan_out",
            "init_lora_weights",
            "megatron_core",
            "orth_reg_weight",
            "qalora_group_size",
            "r",
            "target_r",
            "tfinal",
            "tinit",
            "total_step",
        )
    )

    init_r: int = Field(default=12, ge=1, le=MAX_RANK)
    """Rank of every module's update when training starts."""
    target_r: int = Field(default=8, ge=1)
    """Mean rank when it ends; which modules keep more and which less is learned."""
    lora_alpha: int | float = Field(default=16, gt=0)
    """The update is scaled by alpha / init_r."""
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the input of A, in training only."""
    tinit: NonNegativeInt | None = None
    """Steps before the ranks start to fall; by default a tenth of all."""
    tfinal: NonNegativeInt | None = None
    """Steps after they have fallen; by default half of all."""
    deltaT: int = Field(default=1, ge=1)  # noqa: N815  PEFT's name
    """Steps from one choice of ranks to the next."""
    total_step: int | None = Field(default=None, ge=1)
    """Filled with the run's number of steps."""
    beta1: float = Field(default=0.85, gt=0, lt=1)
    """Smoothing of a value's importance over the steps."""
    beta2: float = Field(default=0.85, gt=0, lt=1)
    """Smoothing of how uncertain that is."""
    orth_reg_weight: float = Field(default=0.5, ge=0)
    """Weight in the loss of the term that keeps A's rows and B's columns orthogonal."""
    rank_pattern: dict[str, tuple[StrictBool, ...]] | None = None
    """Which of a module's ranks are left, {"name.lora_E": [true, false, ...]}: chosen by training, not given to it."""
    bias: Literal["none"] = "none"
    """The base's biases are not trained."""

    @classmethod
    def from_peft(cls, values: Mapping[str, Any], *, where: str) -> Self:
        """Read the options of a saved adapter; what is absent is PEFT's default."""
        return super().from_peft({"lora_alpha": 8, **values}, where=where)

    def to_peft(self) -> dict[str, Any]:
        """The options as PEFT takes them; it has no config without a schedule."""
        schedule = {"total_step": self.total_step or 1, "tinit": self.tinit or 0, "tfinal": self.tfinal or 0}
        patterns: Any = self.rank_pattern and {name: list(kept) for name, kept in self.rank_pattern.items()}
        return super().to_peft() | schedule | {"rank_pattern": patterns}

    @property
    def scaling(self) -> float:
        """Of every module; the ranks that are left do not change it."""
        return self.lora_alpha / (self.init_r + SMALLEST)

    def rank(self, module: str) -> int:
        """How many of a module's ranks are left."""
        kept = (self.rank_pattern or {}).get(f"{module}.lora_E")
        return self.init_r if kept is None else sum(kept)

    def for_steps(self, steps: int) -> Self:
        """The same with its schedule filled in: ranks fall from step `tinit` to step `steps - tfinal`.

        Raises ConfigError when no step is left for that.
        """
        if self.total_step not in (None, steps):
            raise _refused("total_step", f"{self.total_step}, but the run has {steps} optimizer steps; leave it out")
        tinit = steps // 10 if self.tinit is None else self.tinit
        tfinal = (steps - 1) // 2 if self.tfinal is None else self.tfinal
        if steps - tfinal < max(2, tinit + 1):  # importance is measured in one step at least, and cut in a later one
            raise _refused(
                "tinit",
                f"{tinit} with tfinal {tfinal} leaves none of the run's {steps} optimizer steps to lower the "
                f"ranks in; accepted: tinit + tfinal < {steps}, and tfinal <= {steps - 2}",
            )
        return self.model_copy(update={"total_step": steps, "tinit": tinit, "tfinal": tfinal})


def _refused(field: str, problem: str) -> ConfigError:
    return ConfigError(f"{field}: {problem}", field=field)
