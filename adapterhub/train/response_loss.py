"""The loss: cross entropy on response tokens, for training and for validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from adapterhub.encoder import IGNORED, Example
from adapterhub.train.examples import batches_by_length, collate


def summed_loss(model: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """`-sum over response tokens of log p(token | all before it)`, in nats; a scalar.

    `batch` is as `collate` makes it. The head runs from the position before the first response on:
    with a large vocabulary it is a fifth of a small model's work, and most of the batch's memory.
    """
    labels = batch["labels"]
    first = int((labels != IGNORED).any(dim=0).nonzero()[0])
    assert first > 0, "a prompt precedes every response"
    kept = labels.shape[1] - first + 1
    output = model(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], logits_to_keep=kept, use_cache=False
    )
    logits = output.logits[:, -kept:-1].flatten(0, 1).float()  # also where a model ignores logits_to_keep
    return functional.cross_entropy(logits, labels[:, first:].flatten(), ignore_index=IGNORED, reduction="sum")


def mean_loss(
    model: Any,
    examples: Sequence[Example],
    *,
    batch_size: int,
    device: torch.device,
    loss: Callable[[Any, Mapping[str, Tensor]], Tensor] = summed_loss,
    collate: Callable[[Sequence[Example]], dict[str, Tensor]] = collate,
) -> float:
    """The mean over all learned tokens of `examples`, however they are batched; leaves eval mode on."""
    model.eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for examples_of_batch in batches_by_length(examples, batch_size):
            batch = {name: tensor.to(device) for name, tensor in collate(examples_of_batch).items()}
            total += float(loss(model, batch))
            count += int((batch["labels"] != IGNORED).sum())
    return total / count
