"""Pairs as token ids, and batches of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypedDict

import torch
from torch import Tensor

from adapterhub.errors import DataError
from adapterhub.prompt_format import PromptFormat
from adapterhub.train.dataset import Dataset

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100
"""The label of a token that is not in the loss."""


class Example(TypedDict):
    """One prompt with its response; both lists are of the same length."""

    input_ids: list[int]
    labels: list[int]
    """The response's ids where it stands, IGNORED on the prompt."""


def encode(
    dataset: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    prompt_format: PromptFormat,
    *,
    max_length: int,
    room: int | None = None,
) -> list[Example]:
    """Token ids of every pair, the prompt's as serving has them.

    Raises DataError at the first pair longer than `max_length`, or than `room`: the positions of the
    base that virtual tokens leave.
    """
    examples = []
    for pair in dataset.pairs:
        prompt = prompt_format.encode_prompt(tokenizer, pair.prompt)
        response = prompt_format.encode_response(tokenizer, pair.completion)
        length = len(prompt) + len(response)
        if length > max_length:
            raise DataError(dataset.path, pair.line, f"{length} tokens, over max_length {max_length}")
        if room is not None and length > room:
            raise DataError(dataset.path, pair.line, f"{length} tokens, over the {room} positions left in the context")
        examples.append(Example(input_ids=prompt + response, labels=[IGNORED] * len(prompt) + response))
    return examples


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
