"""What a base lost of its general abilities: its loss on the shipped general text, without and with the adapter."""

from __future__ import annotations

from typing import Any

from adapterhub.encoder import IGNORED, Example
from adapterhub.general_text import GENERAL_TEXT
from adapterhub.train.job import TrainJob
from adapterhub.train.response_loss import mean_loss

MAX_TOKENS = 128
"""Of a paragraph."""


def general_loss(job: TrainJob, model: Any) -> float:
    """The mean loss of `model`, in nats per token; leaves eval mode on.

    One paragraph at a time, so that it never takes the memory of a step of training.

    A paragraph is cut where the base's positions end. What is measured is plain text, whatever format
    the adapter's prompts have: a change of it says that the adapter acts on more than its task.
    """
    room = min(MAX_TOKENS, job.base.shape.max_positions - job.virtual_tokens)
    examples = []
    for paragraph in GENERAL_TEXT:
        ids = job.base.tokenizer(paragraph)["input_ids"][:room]
        examples.append(Example(input_ids=ids, labels=[IGNORED, *ids[1:]]))
    return mean_loss(model, examples, batch_size=1, device=job.base.device)
