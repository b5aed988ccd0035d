"""The memory of one training run, at the moments that can be its peak."""

from __future__ import annotations

from adapterhub.base import EmptyBase
from adapterhub.estimate.activations import Activations
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

    Between these moments what is kept falls and gradients rise, by one layer at a time.

        the loss           everything kept, and its tensors over the vocabulary
        the head learns    everything kept, the logits' gradient and the head's
        the last layer     all gradients but its own at most, and what that layer kept
        the table learns   all gradients, and with a tied head the table's before it is added
    """
    below = kept.checkpoints if checkpointed else kept.layers
    again = kept.layer if checkpointed else 0
    return max(
        below + kept.logits,
        below + table + max(again, kept.logits // 3 if table else 0),
        gradients + max(kept.layer, table if tied else 0),
    )
