"""The options of VeRA, under PEFT's names."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from adapterhub import TargetConfig


class VeraConfig(TargetConfig):
    """Options of VeRA."""

    neutral: ClassVar[frozenset[str]] = frozenset(("d_initial", "fan_in_fan_out", "init_weights", "vera_dropout"))

    r: int = Field(default=256, ge=1, le=4096)
    """Rank of the projections; higher than LoRA's, since only two vectors of a module learn."""
    exclude_modules: None = None
    """No option of PEFT's VeRA."""
    projection_prng_key: int = Field(default=0, ge=0, lt=1 << 63)
    """Seed of the projections."""
    save_projection: bool = True
    """Save the projections with the adapter; else they are made again from their seed wherever it is loaded."""
    vera_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the input of A, in training only."""
    d_initial: float = 0.1
    """What the vector between A and B starts at."""
    bias: Literal["none"] = "none"
    """Biases of the base that are trained: none."""

    def to_peft(self) -> dict[str, Any]:
        """The options as PEFT takes them."""
        values = super().to_peft()
        del values["exclude_modules"]
        return values
