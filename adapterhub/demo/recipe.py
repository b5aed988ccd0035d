"""What the demo trains, on which task, and what it must reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from adapterhub.tasks import ORDERS, TICKETS, Task

TRAIN_QUANTIZATION: Literal["nf4"] = "nf4"
SERVE_QUANTIZATION: Literal["int8"] = "int8"

MIN_LOSS_DROP = 0.30
"""Validation loss must fall by this share."""
MIN_ACCURACY_GAIN = 20.0
"""Accuracy must rise by this many points."""


@dataclass(frozen=True)
class Recipe:
    """One adapter of the demo."""

    name: str
    """Its name in the store."""
    method: str
    options: Mapping[str, Any]
    task: Task
    max_new_tokens: int
    learning_rate: float
    steps: int
    system_prompt: str
    """Shorter than the template's own, which would be most of a small example's tokens."""


@dataclass(frozen=True)
class Plan:
    """The whole demo."""

    base: str
    first: tuple[Recipe, ...]
    """Trained and evaluated before the server starts."""
    swapped_in: Recipe
    """Trained for a few steps while the server runs, and served without a restart."""


SMOLLM2 = Plan(
    base="smollm2-135m",
    first=(
        Recipe(
            name="demo/orders-lora",
            method="lora",
            options={"r": 8, "lora_alpha": 16},
            task=ORDERS,
            max_new_tokens=32,
            learning_rate=2e-3,
            steps=32,
            system_prompt="You read orders.",
        ),
        Recipe(
            name="demo/tickets-bottleneck",
            method="bottleneck",
            options={"placement": "houlsby", "reduction_factor": 16},
            task=TICKETS,
            max_new_tokens=8,
            learning_rate=2e-3,
            steps=32,
            system_prompt="You label messages.",
        ),
    ),
    swapped_in=Recipe(
        name="demo/tickets-prompt",
        method="prompt_tuning",
        options={"num_virtual_tokens": 16},
        task=TICKETS,
        max_new_tokens=8,
        learning_rate=3e-2,
        steps=8,
        system_prompt="You label messages.",
    ),
)
