"""The options of VeRA, under PEFT's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, NonNegativeInt, field_validator, model_validator

from adapterhub import MethodConfig, Names, check_pattern


class VeraConfig(MethodConfig):
    """Options of VeRA."""

    neutral: ClassVar[frozenset[str]] = frozenset(("d_initial", "fan_in_fan_out", "init_weights", "vera_dropout"))

    r: int = Field(default=256, ge=1, le=4096)
    """Rank of the projections; higher than LoRA's, since only two vectors of a module learn."""
    target_modules: Names = Field(default="all-linear", min_length=1)
    """A list of names (q_proj, v_proj), a regular expression for whole names, or all-linear: all but the head."""
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
    layers_to_transform: NonNegativeInt | tuple[NonNegativeInt, ...] | None = None
    """Numbers of the decoder layers that listed names are looked for in; by default all."""
    layers_pattern: Names | None = None
    """Name of the list of decoder layers, where a model has several numbered lists."""

    @classmethod
    def from_peft(cls, values: Mapping[str, Any], *, where: str) -> Self:
        """Read the options of a saved adapter. Raises UnsupportedAdapterError for one that is not served."""
        return super().from_peft({"target_modules": None, **values}, where=where)

    def to_peft(self) -> dict[str, Any]:
        """The options as PEFT takes them: lists, not tuples."""
        return self.model_dump(mode="json")

    @field_validator("target_modules")
    @classmethod
    def _readable(cls, value: Names) -> Names:
        return check_pattern(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _together(self) -> Self:
        if isinstance(self.target_modules, str) and self.layers_to_transform is not None:
            raise ValueError("layers_to_transform needs target_modules as a list of names")
        if self.layers_pattern and self.layers_to_transform is None:
            raise ValueError("layers_pattern needs layers_to_transform")
        return self
