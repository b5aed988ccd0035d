"""Full fine-tuning: all of a base's weights learn, and what comes of it is a base, never an adapter."""

from __future__ import annotations

from adapterhub.preset import TrainPreset
from adapterhub.training_defaults import TrainDefaults

FULL = "full"
"""What users type: `--method full`. No method: it has no plan, no file of its own and is never served beside others."""
FULL_PRESET = TrainPreset(
    FULL,
    method=FULL,
    quantization="none",
    training_defaults=TrainDefaults(learning_rate=2e-5, source="TRL's default for supervised fine-tuning"),
)
BYTES_PER_WEIGHT = 16
"""While it learns: the weight, its gradient and AdamW's two moments, each in fp32."""
