"""The memory of one training run, at the moments that can be its peak."""

from __future__ import annotations

from adapterhub.base import EmptyBase
from adapterhub.estimate.activations import LOGIT_TENSORS, Activations
from adapterhub.estimate.result import Training
from adapterhub.estimate.trained import Trained

FP32 = 4


def training(
    name: str, base: EmptyBase, run: Trained, kept: Activations, *, optimizer_bytes: int, whole: bool
) -> Training:
    """What a run called `name` holds; `whole` where it trains every weight of the base."""
    gradients = FP32 * sum(run.sizes)
    held = base.weight_bytes + run.held_bytes + optimizer_bytes
    table = FP32 * base.shape.vocab_size * base.shape.hidden_size if whole else 0
    return Training(
        name=name,
        quantization=base.quantization,
        trainable_parameters=sum(run.sizes),
        weight_bytes=base.weight_bytes,
        adapter_bytes=run.held_bytes,
        gradient_bytes=gradients,
        optimizer_bytes=optimizer_bytes,
        activation_bytes=kept.layers,
        checkpointed_activation_bytes=kept.checkpoints + kept.layer,
        logit_bytes=kept.logits,
        peak_bytes=held + _above(kept, gradients, table, checkpointed=False, tied=base.ties_head),
        checkpointed_peak_bytes=held + _above(kept, gradients, table, checkpointed=True, tied=base.ties_head),
    )


def _above(kept: Activations, gradients: int, table: int, *, checkpointed: bool, tied: bool) -> int:
    """The most a step holds above weights and optimizer, whose gradients are freed before the next step.

    Between these moments what is kept falls and gradients rise, layer by layer:

        the loss              everything kept, and its tensors over the vocabulary
        the head's gradient   everything kept, the logits' gradient, and the head's own where it learns
        the last layer        everything kept and, with checkpoints, that layer computed again
        the end               all gradients, and what the first layer kept, or a tied table's own gradient
                              before it is added to the head's
    """
    below = kept.checkpoints if checkpointed else kept.layers
    return max(
        below + kept.logits,
        below + kept.logits // LOGIT_TENSORS + table,
        below + table + (kept.layer if checkpointed else 0),
        gradients + max(kept.layer, table if tied else 0),
    )
