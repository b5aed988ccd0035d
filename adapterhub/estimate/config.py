"""What to estimate: the settings of a training run that decide what it costs."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from adapterhub.config import Config


class EstimateConfig(Config):
    """An adapter that does not exist yet. Every field means what it means in `TrainConfig`."""

    base: str
    """The base model: a built-in name, a folder, or a Hub id (org/name[@revision])."""
    method: str = "lora"
    """The adapter's method, or a preset to train one by, such as qlora."""
    options: dict[str, Any] = Field(default_factory=dict)
    """The method's own options."""
    batch_size: int = Field(default=8, ge=1)
    """Examples computed at once."""
    max_length: int = Field(default=512, ge=2)
    """Most tokens of a prompt with its response."""
