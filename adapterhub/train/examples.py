"""Batches of examples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from adapterhub.encoder import IGNORED, Example


def collate(examples: Sequence[Example]) -> dict[str, Tensor]:
    """One batch, padded on the right. All tensors: [examples, longest].

    Pads carry id 0; the attention mask and the labels keep them out of everything.
    """
    longest = max(len(example["input_ids"]) for example in examples)
    shape = (len(examples), longest)
    input_ids = torch.zeros(shape, dtype=torch.long)
    attention_mask = torch.zeros(shape, dtype=torch.long)
    labels = torch.full(shape, IGNORED, dtype=torch.long)
    for row, example in enumerate(examples):
        length = len(example["input_ids"])
        input_ids[row, :length] = torch.tensor(example["input_ids"])
        attention_mask[row, :length] = 1
        labels[row, :length] = torch.tensor(example["labels"])
    return {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}


def batches_by_length(examples: Sequence[Example], size: int) -> Iterator[list[Example]]:
    """All examples once, shortest first, so that little is padded."""
    ordered = sorted(examples, key=lambda example: len(example["input_ids"]))
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]
