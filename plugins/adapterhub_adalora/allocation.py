"""What AdaLoRA's rank allocator knows between steps, as tensors and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import Tensor

SCORES = ("ipt", "exp_avg_ipt", "exp_avg_unc")
"""PEFT's names: a step's importance of every value, its running mean, and that of how uncertain it is."""
PATTERN = "rank_pattern"


def allocation(model: PeftModel) -> dict[str, Tensor]:
    """`<score>/<parameter>`: like the parameter; `rank_pattern/<E>`: [r], 1 for a rank that is left."""
    tuner: Any = model.base_model
    found = {f"{score}/{name}": value for score in SCORES for name, value in _of(tuner, score).items()}
    pattern = tuner.peft_config[tuner.trainable_adapter_name].rank_pattern or {}
    return found | {f"{PATTERN}/{name}": torch.tensor(kept, dtype=torch.uint8) for name, kept in pattern.items()}


def restore_allocation(model: PeftModel, state: Mapping[str, Tensor]) -> None:
    """Put back what `allocation` gave, with each parameter's own on its device."""
    tuner: Any = model.base_model
    devices = {name: parameter.device for name, parameter in tuner.model.named_parameters()}
    for score in SCORES:
        held = _of(tuner, score)
        held.clear()
        held |= {name: value.to(devices[name]) for name, value in _under(state, score).items()}
    pattern = {name: kept.bool().tolist() for name, kept in _under(state, PATTERN).items()}
    tuner.peft_config[tuner.trainable_adapter_name].rank_pattern = pattern or None


def _of(tuner: Any, score: str) -> dict[str, Tensor]:
    found: dict[str, Tensor] = getattr(tuner.rankallocator, score)
    return found


def _under(state: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{kind}/"): value for name, value in state.items() if name.startswith(f"{kind}/")}
