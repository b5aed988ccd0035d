"""How far two models are apart: their logits over the shipped general text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from adapterhub.general_text import GENERAL_TEXT

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_TOKENS = 128
"""Of a paragraph."""


class Drift(NamedTuple):
    """The differences between the logits of two models at the same tokens."""

    mean: float
    """Of the absolute differences."""
    max: float
    largest_logit: float
    """The largest absolute logit of the first model, to see `max` beside."""
    top1_agreement: float
    """Share of the tokens after which both find the same next token likeliest."""
    tokens: int

    @classmethod
    def between(cls, wanted: list[Tensor], found: list[Tensor]) -> Drift:
        """`wanted` and `found` as `logits_of` gives them."""
        pairs = list(zip(wanted, found, strict=True))
        differences = torch.cat([(a - b).abs().double().mean(dim=-1) for a, b in pairs])
        return cls(
            mean=float(differences.mean()),
            max=max(float((a - b).abs().max()) for a, b in pairs),
            largest_logit=max(float(a.abs().max()) for a in wanted),
            top1_agreement=float(torch.cat([a.argmax(-1) == b.argmax(-1) for a, b in pairs]).double().mean()),
            tokens=len(differences),
        )


def logits_of(model: Any, tokenizer: PreTrainedTokenizerBase, *, positions: int) -> list[Tensor]:
    """The logits after every token of each paragraph: fp32 [tokens, vocab]; at most `positions` tokens."""
    found = []
    with torch.no_grad():
        for paragraph in GENERAL_TEXT:
            ids = torch.tensor([tokenizer(paragraph)["input_ids"][: min(MAX_TOKENS, positions)]])
            found.append(model(input_ids=ids.to(model.device), use_cache=False).logits[0].float())
    return found
