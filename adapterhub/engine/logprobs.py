"""How likely the tokens were that a step has chosen."""

from __future__ import annotations

import torch
from torch import Tensor

from adapterhub.engine.request import Sampling, TokenLogprobs


def logprobs(logits: Tensor, tokens: list[int], sampling: list[Sampling]) -> list[TokenLogprobs | None]:
    """log softmax(logits) of each row's chosen token and of its likeliest; None for rows that do not ask.

    `logits`: [rows, vocab] in fp32, before temperature and truncation.
    """
    answers: list[TokenLogprobs | None] = [None] * len(tokens)
    asked = [(row, options.logprobs) for row, options in enumerate(sampling) if options.logprobs is not None]
    if not asked:
        return answers
    rows = torch.tensor([row for row, _ in asked], device=logits.device)
    chosen = torch.tensor([tokens[row] for row, _ in asked], device=logits.device)
    table = torch.log_softmax(logits[rows], dim=-1)
    top = table.topk(min(max(count for _, count in asked), table.shape[1]), dim=-1)
    of_chosen = table.gather(1, chosen.unsqueeze(1)).squeeze(1).tolist()
    for (row, count), value, ids, values in zip(
        asked, of_chosen, top.indices.tolist(), top.values.tolist(), strict=True
    ):
        answers[row] = TokenLogprobs(value, tuple(zip(ids[:count], values[:count], strict=True)))
    return answers
