"""What a base lost of its general abilities: its loss on general text, without and with the adapter."""

from __future__ import annotations

from typing import Any

from adapterhub.encoder import IGNORED, Example
from adapterhub.errors import DataError
from adapterhub.train.job import TrainJob
from adapterhub.train.response_loss import mean_loss

MAX_TOKENS = 128
"""Of a piece."""


def general_loss(job: TrainJob, model: Any) -> float:
    """The mean loss of `model`, in nats per token; leaves eval mode on. Raises DataError for a probe too short.

    One piece of a paragraph at a time, so that it never takes the memory of a step of training. The pieces are
    shorter where the base's positions end.

    What is measured is plain text, whatever format the adapter's prompts have: a change of it says that the
    adapter acts on more than its task.
    """
    room = min(MAX_TOKENS, job.base.shape.max_positions - job.virtual_tokens)
    pieces = []
    for paragraph in job.probe.paragraphs:
        ids = job.base.tokenizer(paragraph)["input_ids"]
        pieces += [ids[start : start + room] for start in range(0, len(ids), room)]
    examples = [Example(input_ids=ids, labels=[IGNORED, *ids[1:]]) for ids in pieces if len(ids) > 1]
    if not examples:
        raise DataError(job.probe.source, 1, "too little text to measure anything on")
    return mean_loss(model, examples, batch_size=1, device=job.base.device)
