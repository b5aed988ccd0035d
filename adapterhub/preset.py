"""A method trained in a set way, under a name of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from adapterhub.training_defaults import TrainDefaults


@dataclass(frozen=True)
class TrainPreset:
    """What `--method NAME` means beside the method: how its base is held and its steps are made.

    The adapter is the method's own, in its file and in serving; only its record names the preset.
    """

    name: str
    """What users type: `--method qlora`."""
    method: str
    """The name of the method that is trained."""
    quantization: Literal["none", "nf4"] | None = None
    """How the base must be held; None leaves it to the user."""
    gradient_checkpointing: bool = False
    """Compute a layer's activations again in the backward pass, in place of keeping them."""
    cuda_optimizer: str | None = None
    """The Trainer's name of an optimizer to use where the base is on a CUDA device."""
    training_defaults: TrainDefaults | None = None
    """In place of the method's."""
