"""How a method is trained where nobody says it, and who says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Schedule = Literal["linear", "cosine", "constant", "polynomial", "cosine_with_restarts", "inverse_sqrt"]
"""How the learning rate goes on after its warmup, by the names of transformers."""


@dataclass(frozen=True)
class TrainDefaults:
    """What a run of a method takes for the settings that were not given; of the others, what all methods have."""

    learning_rate: float
    """The highest learning rate, of AdamW."""
    source: str
    """Where these values come from: a paper or a library's documentation."""
    epochs: float = 3.0
    schedule: Schedule = "linear"
    warmup: float = 0.1
    """Share of the steps."""
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    """The norm that gradients are scaled down to; 0 leaves them as they are."""
