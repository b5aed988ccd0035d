"""How likely tokens were: those that a step has chosen, and those of prompts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from adapterhub.engine.request import Sampling, TokenLogprobs
from adapterhub.engine.sequence import Chunk

SLAB = 32
"""Rows whose log-probabilities are there at a time, of all tokens."""


def logprobs(logits: Tensor, tokens: list[int], sampling: list[Sampling]) -> list[TokenLogprobs | None]:
    """log softmax(logits) of each row's chosen token and of its likeliest; None for rows that do not ask.

    `logits`: [rows, vocab] in fp32, as the base gave them.
    """
    answers: list[TokenLogprobs | None] = [None] * len(tokens)
    asked = [(row, options.logprobs) for row, options in enumerate(sampling) if options.logprobs is not None]
    if asked:
        rows = torch.tensor([row for row, _ in asked], device=logits.device)
        told = _told(logits[rows], [tokens[row] for row, _ in asked], [count for _, count in asked])
        for (row, _), answer in zip(asked, told, strict=True):
            answers[row] = answer
    return answers


def prompt_logprobs(logits: Tensor, chunk: Chunk) -> list[TokenLogprobs]:
    """The same of prompt tokens: each behind one of the chunk's `num_told` rows, [num_told, vocab]."""
    sequence = chunk.sequence
    first = len(sequence.prompt_logprobs) + 1
    tokens = sequence.request.prompt_ids[first : first + chunk.num_told]
    count = sequence.request.sampling.prompt_logprobs
    assert count is not None, "nobody asked"
    answers: list[TokenLogprobs] = []
    for start in range(0, len(tokens), SLAB):
        slab = tokens[start : start + SLAB]
        answers += _told(logits[start : start + SLAB], slab, [count] * len(slab))
    return answers


def _told(logits: Tensor, tokens: Sequence[int], counts: Sequence[int]) -> list[TokenLogprobs]:
    table = torch.log_softmax(logits, dim=-1)
    top = table.topk(min(max(counts), table.shape[1]), dim=-1)
    chosen = torch.tensor(tokens, device=logits.device).unsqueeze(1)
    of_chosen = table.gather(1, chosen).squeeze(1).tolist()
    return [
        TokenLogprobs(value, tuple(zip(ids[:count], values[:count], strict=True)))
        for count, value, ids, values in zip(counts, of_chosen, top.indices.tolist(), top.values.tolist(), strict=True)
    ]
