"""The validation loss: the mean over all response tokens, however they are batched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from adapterhub.train.examples import IGNORED, Example, batches_by_length, collate


def response_loss(model: Any, examples: Sequence[Example], *, batch_size: int, device: torch.device) -> float:
    """Cross entropy in nats, `sum over response tokens / number of response tokens`.

    `model` is a causal language model or a PEFT model of one; it is left in eval mode.
    """
    model.eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for batch in batches_by_length(examples, batch_size):
            inputs = {name: tensor.to(device) for name, tensor in collate(batch).items()}
            tokens = int((inputs["labels"] != IGNORED).sum())
            # The model's own loss is the mean over the batch's labels; a prompt precedes each, so none is shifted out.
            total += float(model(**inputs).loss) * tokens
            count += tokens
    return total / count
