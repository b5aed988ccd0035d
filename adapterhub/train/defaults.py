"""The settings of a run with nothing left open."""

from __future__ import annotations

from adapterhub.train.choice import Choice
from adapterhub.train.config import TrainConfig

FROM_METHOD = ("epochs", "learning_rate", "schedule", "warmup", "weight_decay", "max_grad_norm")
"""Settings that a preset or a method answers for where they are not given."""


def with_defaults(config: TrainConfig, choice: Choice) -> TrainConfig:
    """`config` with what was not given as the preset says, or else the method."""
    defaults = choice.preset.training_defaults or choice.method.training_defaults
    found = {name: getattr(defaults, name) for name in FROM_METHOD if getattr(config, name) is None}
    if choice.preset.gradient_checkpointing:
        found["gradient_checkpointing"] = True
    return config.model_copy(update=found)
