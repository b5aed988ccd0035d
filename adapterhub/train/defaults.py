"""The settings of a run with nothing left open."""

from __future__ import annotations

from typing import Any

from adapterhub.method import Method
from adapterhub.preset import TrainPreset
from adapterhub.train.config import TrainConfig

FROM_METHOD = ("epochs", "learning_rate", "schedule", "warmup", "weight_decay", "max_grad_norm")
"""Settings that a preset or a method answers for where they are not given."""


def with_defaults(config: TrainConfig, preset: TrainPreset, method: Method[Any] | None) -> TrainConfig:
    """`config` with what was not given as the preset says, or else the method; full fine-tuning has none."""
    defaults = preset.training_defaults or (method and method.training_defaults)
    assert defaults is not None, "the preset of what is no method has them"
    found = {name: getattr(defaults, name) for name in FROM_METHOD if getattr(config, name) is None}
    if preset.gradient_checkpointing:
        found["gradient_checkpointing"] = True
    return config.model_copy(update=found)
