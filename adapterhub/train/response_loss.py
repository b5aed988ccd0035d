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

    `batch` is as `collate` makes it. Where it has `position_ids` [rows, longest], rows are packed: each
    position 0 begins a document, and a token sees its own document alone, as transformers masks
    positions that start again where there is no attention mask.
    """
    logits, labels = _next_tokens(model, batch)
    return functional.cross_entropy(
        logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED, reduction="sum"
    )


def learned_logits(model: Any, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """What a model gives where it should give each learned token of a batch, row by row.

    Logits [learned, vocab] in fp32, and the tokens' ids [learned].
    """
    logits, labels = _next_tokens(model, batch)
    learned = labels != IGNORED
    return logits[learned].float(), labels[learned]


def _next_tokens(model: Any, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Logits [rows, kept, vocab] and the labels they are to give [rows, kept], from the first learned column on.

    The head runs from the position before that on: with a large vocabulary it is a fifth of a small
    model's work, and most of the batch's memory.
    """
    labels = batch["labels"]
    first = int((labels != IGNORED).any(dim=0).nonzero()[0])
    assert first > 0, "a prompt precedes every response"
    kept = labels.shape[1] - first + 1
    seen = "position_ids" if "position_ids" in batch else "attention_mask"
    output = model(input_ids=batch["input_ids"], logits_to_keep=kept, use_cache=False, **{seen: batch[seen]})
    return output.logits[:, -kept:-1], labels[:, first:]  # also where a model ignores logits_to_keep


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
