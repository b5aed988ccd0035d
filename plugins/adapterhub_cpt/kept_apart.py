"""Whether a model keeps the documents of a packed row apart."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

FIRST, OTHER, SECOND = (3, 5, 7, 4), (4, 6, 5, 3), (6, 3, 4, 7, 5)
"""Token ids that every vocabulary has."""


def kept_apart(model: Any, device: torch.device) -> bool:
    """Tried out: a document's logits are the same whatever is packed in front of it, and as alone.

    transformers masks by positions that start again where the architecture hands them to its masks and is
    given no attention mask (`masking_utils.find_packed_sequence_indices`). Others know no positions, or
    carry a state along the row.
    """
    if "position_ids" not in inspect.signature(model.forward).parameters:
        return False
    positions = [*range(len(FIRST)), *range(len(SECOND))]
    behind, behind_other, alone = (
        _logits(model, ids, places, device)[-len(SECOND) :]
        for ids, places in (
            (FIRST + SECOND, positions),
            (OTHER + SECOND, positions),
            (SECOND, positions[-len(SECOND) :]),
        )
    )
    independent = _farthest(behind, behind_other) <= 1e-5  # not to the bit: experts add up in another order
    return independent and _farthest(behind, alone) <= 1e-2


def _farthest(logits: Tensor, others: Tensor) -> float:
    """The largest difference, as a share of the largest logit."""
    return float((logits - others).abs().max() / others.abs().max())


def _logits(model: Any, ids: tuple[int, ...], positions: list[int], device: torch.device) -> Tensor:
    """[tokens, vocab]"""
    with torch.no_grad():
        output = model(
            input_ids=torch.tensor([ids], device=device),
            position_ids=torch.tensor([positions], device=device),
            use_cache=False,
        )
    logits: Tensor = output.logits[0].float()
    return logits
