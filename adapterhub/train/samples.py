"""Greedy answers of the model that is trained, whatever its method."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from adapterhub.train.job import TrainJob
from adapterhub.train.questions import LONGEST
from adapterhub.train.sample import Sample


def answers(job: TrainJob, model: Any) -> list[str]:
    """What `model` answers to each of the job's questions; leaves eval mode on."""
    model.eval()
    tokenizer, device = job.base.tokenizer, job.base.device
    closing = tokenizer.eos_token_id
    with torch.no_grad():
        found = [_answer(model, torch.tensor([question.ids], device=device), closing) for question in job.questions]
    return [str(tokenizer.decode(ids, skip_special_tokens=True)).strip() for ids in found]


def samples(job: TrainJob, base: Sequence[str], adapter: Sequence[str]) -> tuple[Sample, ...]:
    """The questions with both answers."""
    both = zip(job.questions, base, adapter, strict=True)
    return tuple(Sample(question.prompt, question.expected, before, after) for question, before, after in both)


def _answer(model: Any, ids: Tensor, closing: int | None) -> list[int]:
    """By `generate`, whose tokens are held against those of a plain forward; where they differ, by the latter alone."""
    try:
        found = _generated(model, ids, closing)
    except Exception:  # noqa: BLE001  a method may not know of caches: its forward is what is trained
        return _step_by_step(model, ids, closing)
    logits = model(input_ids=found[:, :-1], attention_mask=torch.ones_like(found[:, :-1]), use_cache=False).logits
    likeliest = logits[0, ids.shape[1] - 1 :].argmax(dim=-1)
    new = found[0, ids.shape[1] :]
    return new.tolist() if torch.equal(likeliest, new) else _step_by_step(model, ids, closing)


def _generated(model: Any, ids: Tensor, closing: int | None) -> Tensor:
    """[1, tokens of the prompt and its answer]"""
    asked = {"do_sample": False, "max_new_tokens": LONGEST, "eos_token_id": closing, "pad_token_id": closing or 0}
    with warnings.catch_warnings():
        # PEFT counts positions itself where virtual tokens stand in front, and says so at every token.
        warnings.filterwarnings("ignore", "Position ids are not supported")
        found: Tensor = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **asked)
    return found


def _step_by_step(model: Any, ids: Tensor, closing: int | None) -> list[int]:
    new: list[int] = []
    while len(new) < LONGEST and (closing is None or closing not in new):
        output = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, logits_to_keep=1)
        token = output.logits[:, -1].argmax(dim=-1)
        new.append(int(token))
        ids = torch.cat([ids, token[None]], dim=1)
    return new
