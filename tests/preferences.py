"""A run to an objective of TRL's, up to its trainer: the adapter on the base, at its start."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adapterhub.base import BaseModel
from adapterhub.train import TrainConfig
from adapterhub.train.attach import attached
from adapterhub.train.checkpoint_folder import CheckpointFolder
from adapterhub.train.course import Course
from adapterhub.train.job import TrainJob
from adapterhub.train.learning import Learning
from adapterhub.train.trainer import make_trainer


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def colors(path: Path, count: int = 16) -> Path:
    """Questions of several lengths, of which the answer is to be the one color and not the other."""
    records = []
    for number in range(count):
        chosen, rejected = ("red", "deep blue") if number % 2 else ("deep blue", "red")
        records.append({"prompt": "?" * (1 + number % 3) + str(number), "chosen": chosen, "rejected": rejected})
    return write(path, records)


def rated(path: Path, count: int = 16) -> Path:
    """The same answers, each rated by itself."""
    records = []
    for number in range(count):
        answer = "red" if number % 2 else "deep blue"
        records.append({"prompt": "?" * (1 + number % 3) + str(number), "completion": answer, "label": number % 3 > 0})
    return write(path, records)


def config(base: BaseModel, data: Path, objective: str, method: str = "lora", **settings: Any) -> TrainConfig:
    values = {"base": base.record.id, "data": data, "validation": data, "objective": objective, "method": method}
    return TrainConfig.load(
        {"learning_rate": 1e-2, "max_steps": 4, "batch_size": 4, "prompt_format": "raw", **values, **settings},
        where="test",
    )


@contextmanager
def at_the_start(base: BaseModel, settings: TrainConfig, folder: Path) -> Iterator[tuple[Learning, Any]]:
    """The run before its first step, and its trainer."""
    job = TrainJob.prepare(settings, base)
    torch.manual_seed(settings.seed)
    with attached(job) as model:
        learning = Learning(job, model)
        yield learning, make_trainer(learning, Course(), CheckpointFolder(folder), [])


def log_prob(model: Any, prompt: list[int], answer: list[int]) -> Tensor:
    """Of an answer given its prompt, in nats, from the logits of a row by itself."""
    model.eval()
    ids = torch.tensor([prompt + answer])
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[0].float()
    summed: Tensor = logits[len(prompt) - 1 : -1].log_softmax(-1).gather(1, ids[0, len(prompt) :, None]).sum()
    return summed
