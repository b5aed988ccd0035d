"""Starts of A and B that PEFT's config alone does not give.

    CorDA   from what the run's examples put into each module; rewrites the base, as PEFT computes it
    LoftQ   s B A is the best update of rank r to W - Q: what quantization lost of a weight

An adapter that started so is saved as the difference to its start, of twice the rank, for the original
base. CorDA's is what was trained there, up to rounding. LoftQ trains on Q, so W with the saved adapter
is what was trained plus E = (W - Q) - s B A at the start: the part of the loss that rank r did not
hold. On Q itself, the nf4 base, the saved adapter is what was trained less s B A at the start.

Sources: Yang et al. 2024, "CorDA" (arXiv:2406.05223); Li et al. 2023, "LoftQ" (arXiv:2310.08659), with
one iteration: Q is the base and stays as it is. PEFT's own `replace_lora_weights_loftq` needs CUDA and
leaves out the scaling s.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from peft import get_peft_model
from peft.tuners.lora.corda import preprocess_corda

from adapterhub import ConfigError

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from torch import Tensor

    from adapterhub.method_training import TrainingBase


def corda(peft_config: PeftConfig, base: TrainingBase) -> PeftModel:
    """A new adapter whose A and B are the part of each weight that the examples use most, or least.

    Holds the covariance of each module's inputs, fp32 [in, in], and all factors of each weight in
    fp32 at a time. Raises ConfigError when the decomposition fails.
    """
    config: Any = copy.copy(peft_config)
    config.target_modules = set(base.targets)  # whole names: what runs before PEFT's tuner takes no `all-linear`
    try:
        preprocess_corda(base.model, config, run_model=base.see_examples)
    except (ValueError, torch.linalg.LinAlgError) as error:  # type: ignore[attr-defined]
        raise ConfigError(f"init_lora_weights: 'corda' finds no start: {error}", field="init_lora_weights") from None
    adapted: Any = get_peft_model(base.model, peft_config)
    adapted.peft_config["default"].corda_config = None  # done, and a saved config with it makes PEFT warn
    return adapted  # type: ignore[no-any-return]


def loftq(adapted: PeftModel, base: TrainingBase) -> None:
    """Start A and B of `adapted` with what quantization lost. Modules held floating start as usual.

    Raises ConfigError when all are.
    """
    layers: dict[str, Any] = {name: adapted.get_submodule(f"base_model.model.{name}") for name in base.targets}
    quantized = {name: layer for name, layer in layers.items() if not layer.get_base_layer().weight.is_floating_point()}
    if not quantized:
        raise ConfigError(
            "init_lora_weights: 'loftq' has no effect: none of the target modules is held in 4 bits",
            field="init_lora_weights",
        )
    for name, layer in quantized.items():
        held = base.weight(name)
        a, b = _factors(base.original(name).to(held.device) - held, layer.r["default"])
        layer.lora_A["default"].weight.data.copy_(a)
        layer.lora_B["default"].weight.data.copy_(b / layer.scaling["default"])


def _factors(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """A [rank, in] and B [out, rank], whose product B A is the closest of its rank to `matrix` [out, in]."""
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    root = s[:rank].sqrt()
    return root.unsqueeze(1) * v[:rank], u[:, :rank] * root
